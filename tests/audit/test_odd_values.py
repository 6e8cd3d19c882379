"""Odd values of every kind in every field that a rule reads: no rule crashes, whatever a file holds."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.formats.training_args import TrainingArguments, read_training_args
from audit.storage import BytesReader
from audit.testing.judging import report
from audit.testing.runs import edit_torch, make_run
from audit.testing.torch_files import FakeTensor, Made, Name

DIGITS = "1" + 400 * "0"
JSON_ONLY = [json.loads(text) for text in (DIGITS, f"-{DIGITS}", f"[{DIGITS}]", f'{{"a": {DIGITS}}}')]
PLAIN: list[Any] = [
    10**30, 1 << 63, 1 << 64, -(1 << 63) - 1, (1 << 128) - 1, float("nan"), float("inf"), -float("inf"), 1e308, -1e308,
    5e-324, -1, 0, -0.0, "", "a", "é", "x" * 5000, None, True, False, [], {}, [[]], [1, "a", None], [float("nan")],
    {"a": {"b": 1}}, {"": None},
]  # fmt: skip
PICKLED: list[Any] = [
    10**400, -(10**400), [10**400], {"a": 10**400}, b"", b"\xff", (), (1, (2,)), {1: 2}, {(1, 2): 3},
    Made("builtins.range", (3,)), Made("builtins.set", ([1],)), Made("builtins.complex", (1.0, 2.0)),
    Made("torch.device", ("cpu",)), Name("torch.float32"), FakeTensor("F32", (), b"\0\0\xc0\x7f"),
    FakeTensor("F32", (2, 2), bytes(16)), FakeTensor("I64", (), b"\xff" * 8), FakeTensor("BOOL", (), b"\x02"),
]  # fmt: skip
FILES = {
    "scheduler.pt": ("base_lrs", "last_epoch", "_step_count", "_last_lr", "lr_lambdas", "mode", "_schedulers", "x"),
    "scaler.pt": ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker", "x"),
    "rng_state.pth": ("python", "numpy", "cpu", "cuda"),
    "optimizer.pt": ("state", "param_groups", "x"),
}
GROUP = ("weight_decay", "lr", "betas", "eps", "initial_lr", "params", "amsgrad", "momentum", "k", "train_mode")
MOMENT = ("step", "exp_avg", "exp_avg_sq", "momentum_buffer", "x")

plain = st.one_of(
    st.sampled_from(PLAIN),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_run(tmp_path_factory.mktemp("odd") / "run", (100, 200), best=True, fp16=True)


def places(run: str) -> list[tuple[str, str]]:
    """Every (kind of place, name of the field)."""
    checkpoint = Path(run, "checkpoint-200")
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    arguments = read_training_args(BytesReader((checkpoint / "training_args.bin").read_bytes()))
    assert isinstance(arguments, TrainingArguments)
    adapter = json.loads((checkpoint / "adapter_config.json").read_text(encoding="utf-8"))
    return [
        *(("trainer_state.json", name) for name in (*state, "episode", "trial_params")),
        *(("log", name) for name in sorted({name for entry in state["log_history"] for name in entry})),
        *(("adapter_config.json", name) for name in adapter),
        *(("training_args.bin", name) for name in (*arguments.values, "warmup_ratio")),
        *((file, name) for file, names in FILES.items() for name in names),
        *(("group", name) for name in GROUP),
        *(("moment", name) for name in MOMENT),
    ]


def plant(checkpoint: Path, place: str, name: str, value: Any) -> None:
    if place in ("trainer_state.json", "log", "adapter_config.json"):
        path = checkpoint / (place if place != "log" else "trainer_state.json")
        document = json.loads(path.read_text(encoding="utf-8"))
        for target in document["log_history"][-3:] if place == "log" else [document]:
            if place != "log" or name in target:
                target[name] = value
        path.write_text(json.dumps(document, indent=2, sort_keys=True), encoding="utf-8")
    elif place == "training_args.bin":
        edit_torch(checkpoint / place, lambda made: made._replace(state={**made.state, name: value}))
    elif place in FILES:
        edit_torch(checkpoint / place, lambda values: {**values, name: value})
    elif place == "group":
        edit_torch(checkpoint / "optimizer.pt", lambda values: values["param_groups"][0].update({name: value}))
    else:
        edit_torch(checkpoint / "optimizer.pt", lambda values: values["state"][1].update({name: value}))


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_no_rule_crashes_on_an_odd_value(run: str, tmp_path: Path, data: st.DataObject) -> None:
    place, name = data.draw(st.sampled_from(places(run)))
    pickled = place not in ("trainer_state.json", "log", "adapter_config.json")
    value = data.draw(plain | st.sampled_from(PICKLED if pickled else JSON_ONLY))
    steps = data.draw(st.sampled_from([(200,), (100, 200)]))
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    shutil.copytree(run, tmp_path / "run")
    for step in steps:
        plant(tmp_path / "run" / f"checkpoint-{step}", place, name, value)

    assert report(os.fspath(tmp_path / "run")).crashed == ()


@pytest.mark.parametrize("name", ["global_step", "epoch", "num_train_epochs", "best_metric", "max_steps"])
def test_an_integer_of_hundreds_of_digits_is_a_finding(run: str, tmp_path: Path, name: str) -> None:
    shutil.copytree(run, tmp_path / "run")
    plant(tmp_path / "run" / "checkpoint-200", "trainer_state.json", name, JSON_ONLY[0])

    judged = report(os.fspath(tmp_path / "run"))

    assert judged.crashed == ()
    assert judged.resume_from == "checkpoint-100"
    assert [item.rule for item in judged.findings if item.blocks_resume] == ["security/oversized"]


@pytest.mark.parametrize("name", ["last_epoch", "_step_count", "base_lrs"])
def test_a_huge_integer_in_the_scheduler_is_a_finding(run: str, tmp_path: Path, name: str) -> None:
    shutil.copytree(run, tmp_path / "run")
    plant(tmp_path / "run" / "checkpoint-200", "scheduler.pt", name, [10**400] if name == "base_lrs" else 10**400)

    judged = report(os.fspath(tmp_path / "run"))

    assert judged.crashed == ()
    assert judged.resume_from == "checkpoint-100"


@pytest.mark.parametrize("value", [["linear"], Made("builtins.range", (1, 5)), {"a": 1}])
def test_a_schedule_that_is_no_name_is_a_finding_that_does_not_block(run: str, tmp_path: Path, value: Any) -> None:
    shutil.copytree(run, tmp_path / "run")
    plant(tmp_path / "run" / "checkpoint-200", "training_args.bin", "lr_scheduler_type", value)

    judged = report(os.fspath(tmp_path / "run"))

    assert judged.crashed == ()
    assert judged.resume_from == "checkpoint-200"
    assert "lr_scheduler_type is a" in " ".join(item.message for item in judged.findings)
