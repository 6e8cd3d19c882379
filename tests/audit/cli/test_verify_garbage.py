"""Whatever lies in a checkpoint: a verdict, no crash of a rule, no traceback."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import cli
from audit.testing.runs import make_run
from tests.examples import examples

NAMES = [
    "trainer_state.json", "training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth",
    "adapter_model.safetensors", "adapter_config.json", "model.safetensors.index.json", "adapter_model.bin", "latest",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["global_step", "log_history", "step", "loss", "weight_map", "r", "max_steps", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
CONTENT = st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode())


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(make_run(tmp_path_factory.mktemp("garbage") / "run", (10, 20), logging_steps=5))


def verify(run: Path, depth: str) -> None:
    report = run.parent / "report.json"
    code = cli.run(["verify", str(run), "--depth", depth, "--format", "json", "--output", str(report)])
    outcomes = json.loads(report.read_text())["outcomes"]
    crashed = [item for item in outcomes if item["outcome"] == "error"]
    assert not crashed
    assert code in (0, 1)
    assert cli.run(["show", str(run), "--format", "json"]) == 0
    assert cli.run(["list", str(run), "--format", "json"]) == 0


@examples(10)
@given(files=st.dictionaries(st.sampled_from(NAMES), CONTENT, max_size=5), depth=st.sampled_from(["quick", "full"]))
def test_files_of_garbage_get_a_verdict(
    tmp_path_factory: pytest.TempPathFactory, sound: Path, files: dict[str, bytes], depth: str
) -> None:
    run = tmp_path_factory.mktemp("files") / "run"
    shutil.copytree(sound, run)
    for name, data in files.items():
        (run / "checkpoint-20" / name).write_bytes(data)
    verify(run, depth)


@examples(10)
@given(data=st.data(), name=st.sampled_from(NAMES[:8]), depth=st.sampled_from(["quick", "full"]))
def test_files_with_changed_bytes_get_a_verdict(
    tmp_path_factory: pytest.TempPathFactory, sound: Path, data: st.DataObject, name: str, depth: str
) -> None:
    run = tmp_path_factory.mktemp("bytes") / "run"
    shutil.copytree(sound, run)
    path = run / "checkpoint-20" / name
    if not path.exists():
        shutil.copyfile(path.with_name("scheduler.pt"), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    verify(run, depth)
