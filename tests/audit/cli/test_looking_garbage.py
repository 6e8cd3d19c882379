"""Whatever lies in a checkpoint: what is shown, chosen, compared and exported of it is never a crash."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import cli
from audit.testing.runs import make_run
from audit.testing.torch_files import FakeTensor, Made, Name, torch_archive_bytes
from tests.audit.cli.test_verify_garbage import CONTENT, NAMES
from tests.examples import examples

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=3) | st.just(FakeTensor("F32", (1,), bytes(4))),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["state", "param_groups", "params", "step", 0, "lr"]), inner, max_size=4)
        | st.just(
            Made("transformers.training_args.TrainingArguments", (), {"learning_rate": 10**300, "x": Name("a.b")})
        )
    ),
    max_leaves=6,
)
COMMANDS = (
    ["list"], ["show"], ["best", "--metric", "loss"], ["export"], ["export", "--format", "csv"],
    ["export", "--format", "csv", "--table", "checkpoints"],
)  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(make_run(tmp_path_factory.mktemp("garbage") / "run", (10, 20), logging_steps=5))


def look(run: Path, sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in run.glob("*/*"):
        os.utime(path, (10**9, 10**9))  # what was written just now would be waited for
    monkeypatch.setenv("AUDIT_TRACEBACK", "1")  # our own fault is raised, not told in one line
    for command, *options in COMMANDS:
        assert cli.run([command, str(run), *options]) in ((0, 1, 2) if command == "best" else (0,))
    for pair, form in (((run, sound), "json"), ((sound, run), "console")):
        assert cli.run(["diff", *(f"{path}/checkpoint-20" for path in pair), "--format", form]) in (0, 1, 2)


@examples(8)
@given(files=st.dictionaries(st.sampled_from(NAMES), CONTENT | VALUES.map(torch_archive_bytes), max_size=5))
def test_files_of_garbage_are_looked_at(
    tmp_path_factory: pytest.TempPathFactory, sound: Path, files: dict[str, bytes]
) -> None:
    run = tmp_path_factory.mktemp("files") / "run"
    shutil.copytree(sound, run)
    for name, data in files.items():
        (run / "checkpoint-20" / name).write_bytes(data)
    with pytest.MonkeyPatch.context() as monkeypatch:
        look(run, sound, monkeypatch)


@examples(8)
@given(name=st.sampled_from(NAMES), cut=st.floats(0, 1), noise=st.binary(max_size=30))
def test_cut_and_overwritten_files_are_looked_at(
    tmp_path_factory: pytest.TempPathFactory, sound: Path, name: str, cut: float, noise: bytes
) -> None:
    run = tmp_path_factory.mktemp("files") / "run"
    shutil.copytree(sound, run)
    path = run / "checkpoint-20" / name
    if path.exists():
        data = path.read_bytes()
        place = int(len(data) * cut)
        path.write_bytes(data[:place] + noise + data[place + 2 * len(noise) :])
    with pytest.MonkeyPatch.context() as monkeypatch:
        look(run, sound, monkeypatch)
