import os
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.formats.damage import Damage
from audit.formats.optimizer import OptimizerState, read_optimizer
from audit.formats.rng import RngState, read_rng
from audit.formats.scheduler import ScalerState, SchedulerState, read_scaler, read_scheduler
from audit.formats.training_args import TrainingArguments, read_training_args
from audit.storage import BytesReader
from audit.testing.arguments import training_args_bytes
from audit.testing.runs import edit_arguments, edit_optimizer, edit_scheduler, edit_torch, make_run
from audit.testing.torch_files import FakeTensor, Made, Name, torch_archive_bytes
from tests.examples import examples

READERS: list[Callable[[BytesReader], object]] = [
    read_optimizer,
    read_rng,
    read_scheduler,
    read_scaler,
    read_training_args,
]


def tensor(*numbers: float, shape: tuple[int, ...] | None = None) -> FakeTensor:
    return FakeTensor("F32", (len(numbers),) if shape is None else shape, struct.pack(f"<{len(numbers)}f", *numbers))


def optimizer(state: dict[Any, Any], **group: Any) -> OptimizerState:
    value = {"state": state, "param_groups": [{"lr": 0.1, "params": list(range(max(1, len(state)))), **group}]}
    found = read_optimizer(BytesReader(torch_archive_bytes(value)))
    assert isinstance(found, OptimizerState), found
    return found


def file(path: str) -> BytesReader:
    with open(path, "rb") as opened:
        return BytesReader(opened.read())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: Any) -> Any:
    return os.path.join(make_run(tmp_path_factory.mktemp("run"), (50, 100), fp16=True), "checkpoint-50")


def test_the_files_of_a_made_run_are_read(checkpoint: Any) -> None:
    state = read_optimizer(file(f"{checkpoint}/optimizer.pt"))
    assert isinstance(state, OptimizerState)
    assert (state.kind, set(state.steps), len(state.groups)) == ("adam", {50.0}, 2)
    assert state.state[0]["exp_avg"].shape == (4, 16)
    schedule = read_scheduler(file(f"{checkpoint}/scheduler.pt"))
    assert isinstance(schedule, SchedulerState)
    assert schedule[:5] == ("lambda", 50, 51, [1e-4] * 2, [5e-5] * 2)
    scaler = read_scaler(file(f"{checkpoint}/scaler.pt"))
    assert isinstance(scaler, ScalerState)
    assert (scaler.scale, scaler.growth_tracker) == (65536.0, 50)
    rng = read_rng(file(f"{checkpoint}/rng_state.pth"))
    assert isinstance(rng, RngState)
    assert (rng.generators, rng.problems) == (("python", "numpy", "cpu"), ())
    arguments = read_training_args(file(f"{checkpoint}/training_args.bin"))
    assert isinstance(arguments, TrainingArguments)
    assert arguments.class_name == "transformers.training_args.TrainingArguments"
    assert arguments.values["save_strategy"] == "steps"
    assert arguments.values["num_processes"] == 1
    assert arguments.values["_setup_devices"] == "cpu"


def test_one_change_in_a_made_run_is_what_is_read(tmp_path: Any) -> None:
    checkpoint = os.path.join(make_run(tmp_path, (10,)), "checkpoint-10")
    edit_optimizer(checkpoint, lambda value: value["param_groups"][0].update(lr=0.5))
    edit_scheduler(checkpoint, last_epoch=3)
    edit_arguments(checkpoint, save_steps=77)
    state = read_optimizer(file(f"{checkpoint}/optimizer.pt"))
    schedule = read_scheduler(file(f"{checkpoint}/scheduler.pt"))
    arguments = read_training_args(file(f"{checkpoint}/training_args.bin"))
    assert isinstance(state, OptimizerState)
    assert isinstance(schedule, SchedulerState)
    assert isinstance(arguments, TrainingArguments)
    assert (state.groups[0]["lr"], set(state.steps)) == (0.5, {10.0})
    assert schedule.last_epoch == 3
    assert (arguments.values["save_steps"], arguments.values["num_processes"]) == (77, 1)


@pytest.mark.parametrize(
    ("state", "group", "kind", "steps"),
    [
        ({0: {"step": tensor(7.0, shape=()), "exp_avg": tensor(1), "exp_avg_sq": tensor(1)}}, {}, "adam", [7.0]),
        ({0: {"step": 7, "exp_avg_sq_row": tensor(1), "RMS": 0.5}}, {}, "adafactor", [7]),
        ({0: {"step": 7, "state1": tensor(1), "qmap1": tensor(1)}}, {}, "8bit", [7]),
        ({0: {"z": tensor(1), "exp_avg_sq": tensor(1)}}, {"k": 9, "train_mode": True}, "schedule-free", [9]),
        ({}, {"momentum": 0, "params": [0, 1]}, "sgd", []),
        ({0: {"momentum_buffer": None}}, {"momentum": 0}, "sgd", []),
        ({0: {"momentum_buffer": tensor(1)}}, {"momentum": 0.9}, "sgd-momentum", []),
        ({}, {}, "layer-wise", []),
        ({0: {"step": 3, "sum": tensor(1)}}, {}, "other", [3]),
        ({0: {"step": 3, "square_avg": tensor(1), "momentum_buffer": tensor(1)}}, {}, "other", [3]),
    ],
)
def test_an_optimizer_is_known_by_its_state(state: Any, group: Any, kind: Any, steps: Any) -> None:
    found = optimizer(state, **group)
    assert (found.kind, found.steps) == (kind, steps)


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        {"state": {}, "param_groups": {}},
        {"state": {}, "param_groups": [1]},
        {"state": {}, "param_groups": [{"params": None}]},
        {"state": {}, "param_groups": [{"params": [None]}]},
        {"state": {0: 1}, "param_groups": []},
    ],
)
def test_what_is_no_optimizer_state_is_damaged(value: Any) -> None:
    assert isinstance(read_optimizer(BytesReader(torch_archive_bytes(value))), Damage)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"lr_lambdas": []}, "lambda"),
        ({"mode": "min", "num_bad_epochs": 0}, "plateau"),
        ({"_init_lrs": [], "smooth": True}, "greedy"),
        ({"_schedulers": []}, "sequential"),
        ({}, "other"),
    ],
)
def test_a_scheduler_is_known_by_its_values(values: Any, kind: Any) -> None:
    found = read_scheduler(BytesReader(torch_archive_bytes(values)))
    assert isinstance(found, SchedulerState)
    assert (found.kind, found.last_epoch, found.last_lr) == (kind, None, None)


def test_learning_rates_that_are_tensors_are_read() -> None:
    found = read_scheduler(BytesReader(torch_archive_bytes({"_last_lr": [tensor(0.5, shape=()), 0.25]})))
    assert isinstance(found, SchedulerState)
    assert found.last_lr == [0.5, 0.25]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"python": (3, (1,) * 624, None)}, "Python generator: it does not have 625 integers"),
        ({"python": (2, (1,) * 625, None)}, "its version is not 3"),
        ({"python": (3, (1 << 32,) * 625, None)}, "out of range"),
        ({"python": (3, (0,) * 625, None)}, "all zeros"),
        ({"numpy": ("PCG64", None, 0, 0, 0.0)}, "not of kind MT19937"),
        ({"numpy": ("MT19937", [], 0, 0, 0.0)}, "not an array"),
        ({"numpy": None}, "not a tuple of 5"),
        ({"cpu": FakeTensor("U8", (3,), b"abc")}, "3 bytes instead of 5056"),
        ({"cpu": tensor(1.0)}, "torch CPU generator: it is not a tensor of bytes"),
        ({"cuda": [FakeTensor("U8", (16,), bytes(16)), None]}, "CUDA"),
    ],
)
def test_each_fault_in_a_generator_state_is_said(tmp_path: Any, change: Any, problem: Any) -> None:
    path = os.path.join(make_run(tmp_path, (10,)), "checkpoint-10", "rng_state.pth")
    edit_torch(path, lambda values: {**values, **change})
    found = read_rng(file(path))
    assert isinstance(found, RngState)
    assert [problem in each for each in found.problems] == [True]


def test_a_missing_generator_is_a_problem(tmp_path: Any) -> None:
    found = read_rng(BytesReader(torch_archive_bytes({})))
    assert isinstance(found, RngState)
    assert len(found.problems) == 3


def test_arguments_as_json_text_are_read() -> None:
    found = read_training_args(BytesReader(b'{"learning_rate": 0.1, "save_strategy": "steps"}'))
    assert found == TrainingArguments("", {"learning_rate": 0.1, "save_strategy": "steps"}, ())


def test_an_enum_taken_by_getattr_is_its_value() -> None:
    member = Made("__builtin__.getattr", (Name("transformers.trainer_utils.IntervalStrategy"), "STEPS"))
    found = read_training_args(BytesReader(training_args_bytes("my.Config", logging_strategy=member)))
    assert isinstance(found, TrainingArguments)
    assert (found.class_name, found.values["logging_strategy"]) == ("my.Config", "steps")
    assert "__builtin__.getattr" in found.names


def test_arguments_that_hold_themselves_are_cut_off() -> None:
    cycle: list[Any] = []
    cycle.extend([cycle] * 40)
    found = read_training_args(BytesReader(training_args_bytes(debug=cycle)))
    assert isinstance(found, TrainingArguments)


SOUND = {
    "optimizer": torch_archive_bytes(
        {"state": {0: {"step": tensor(1.0, shape=())}}, "param_groups": [{"params": [0]}]}
    ),
    "arguments": training_args_bytes(),
}


@given(st.data())
@examples(300)
def test_damaged_bytes_never_raise(data: Any) -> None:
    raw = bytearray(SOUND[data.draw(st.sampled_from(sorted(SOUND)))])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for reader in READERS:
        reader(BytesReader(bytes(raw)))


@given(st.recursive(st.one_of(st.none(), st.integers(), st.text(max_size=3)), lambda inner: st.one_of(
    st.lists(inner, max_size=3),
    st.dictionaries(
        st.sampled_from(["state", "param_groups", "params", "python", "numpy", "cpu", "cuda", "_last_lr", "step", "k"]),
        inner,
        max_size=5,
    ),
)))  # fmt: skip
@examples(300)
def test_values_of_any_shape_never_raise(value: Any) -> None:
    for reader in READERS:
        reader(BytesReader(torch_archive_bytes(value)))
        reader(BytesReader(torch_archive_bytes(Made("a.B", (value,), value))))
