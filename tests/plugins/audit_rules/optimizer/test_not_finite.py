"""NaN and infinities."""

from pathlib import Path
from struct import pack
from types import SimpleNamespace
from typing import Any

import pytest

from audit.findings import Outcome
from audit.plugin import Layout, NotApplicable
from audit.testing.judging import check, outcome, report
from audit.testing.runs import edit_optimizer, edit_tensors, make_run
from audit.testing.torch_files import FakeTensor
from audit_rules.optimizer.not_finite import not_finite
from tests.zero import PARTITION, edit_partition, make_zero

Value = dict[str, Any]

FILE = "adapter_model.safetensors"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def place(run: str, step: int = 300) -> Path:
    return Path(run, f"checkpoint-{step}")


def only(run: str) -> Any:
    """The one finding of all rules on optimizer, scheduler, weights and adapter."""
    (finding,) = report(run, "optimizer", "scheduler", "weights", "adapter").findings
    return finding


def put(entry: Value, key: str, data: bytes, at: int = 0) -> None:
    tensor = entry[key]
    entry[key] = tensor._replace(data=tensor.data[:at] + data + tensor.data[at + len(data) :])


@pytest.mark.parametrize("key", ["exp_avg", "exp_avg_sq"])
def test_a_nan_in_a_moment_is_found(run: str, key: str) -> None:
    edit_optimizer(place(run), lambda value: put(value["state"][5], key, pack("<f", float("nan"))))
    finding = only(run)
    assert finding.rule == "optimizer/not-finite"
    assert f"1 of 8 parameters, first in {key} of parameter 5" in finding.message
    assert (finding.expected, finding.actual) == (0, 1)


def test_nan_in_weights_and_moments_is_one_finding(run: str) -> None:
    nan = pack("<f", float("nan"))
    edit_optimizer(place(run), lambda value: put(value["state"][5], "exp_avg", nan))

    def spoil(tensors: dict[str, FakeTensor]) -> None:
        name = next(iter(tensors))
        tensors[name] = tensors[name]._replace(data=nan + tensors[name].data[4:])

    edit_tensors(place(run) / FILE, spoil)
    assert only(run).rule == "weights/not-finite"


def test_finite_moments_pass_and_what_is_not_read_is_not_judged(run: str) -> None:
    assert outcome(run, "optimizer/not-finite", "checkpoint-300").outcome is Outcome.PASS
    place(run).joinpath("optimizer.pt").unlink()
    assert outcome(run, "optimizer/not-finite", "checkpoint-300").outcome is Outcome.NOT_APPLICABLE


@pytest.mark.parametrize("stage", [2, 3])
def test_a_nan_in_a_moment_of_one_process_of_deepspeed_is_found(tmp_path: Path, stage: int) -> None:
    run = make_zero(tmp_path / "zero", stage=stage)

    def spoil(state: Value) -> Value:
        inner = state.get("base_optimizer_state") or state["optimizer_state_dict"]
        put(inner["state"][0], "exp_avg", pack("<f", float("nan")))
        return state

    assert outcome(str(run), "optimizer/not-finite", "checkpoint-200").outcome is Outcome.PASS
    edit_partition(run / "checkpoint-200", 1, spoil)
    (finding,) = check(str(run), "optimizer/not-finite")
    assert finding.file == f"global_step200/{PARTITION.format(1)}"
    assert finding.message == f"{finding.file} has NaN or infinite values in 1 tensors"


def test_a_part_of_the_optimizer_that_was_not_read_is_not_judged() -> None:
    layout = Layout("deepspeed", sharded_optimizer=("global_step200/0_optim_states.pt", "global_step200/latest"))
    checkpoint = SimpleNamespace(optional=lambda _: None)
    with pytest.raises(NotApplicable, match="no optimizer state that could be read completely"):
        list(not_finite.function(checkpoint, layout, {}))


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("what", ["weights", "exp_avg", "exp_avg_sq"])
def test_what_is_in_the_padding_of_zero_3_is_no_finding(tmp_path: Path, what: str, number: int) -> None:
    """The second group has parameters of 3 and 2 elements for two ranks: of the last rank one element is padding."""
    run = make_zero(tmp_path / "zero", stage=3)
    at = 1 if number else 0  # rank 1 has of the 3 elements one, then padding, then one of the 2

    def spoil(state: Value) -> Value:
        nan, flat = pack("<f", float("nan")), state["fp32_flat_groups"]
        if what == "weights":
            flat[1] = flat[1]._replace(data=flat[1].data[: 4 * at] + nan + flat[1].data[4 * at + 4 :])
        else:
            put(state["optimizer_state_dict"]["state"][1], what, nan, 4 * at)
        return state

    edit_partition(run / "checkpoint-200", 1, spoil)
    found = [finding.message.partition(" has ")[2] for finding in check(str(run), "optimizer/not-finite")]
    assert found == ([] if number else ["NaN or infinite values in 1 tensors"])


def test_nan_in_the_padding_beside_a_nan_of_a_parameter_is_still_found(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "zero", stage=3)

    def spoil(state: Value) -> Value:
        nan, flat = pack("<f", float("nan")), state["fp32_flat_groups"]
        flat[1] = flat[1]._replace(data=flat[1].data[:4] + 2 * nan)
        return state

    edit_partition(run / "checkpoint-200", 1, spoil)
    assert len(check(str(run), "optimizer/not-finite")) == 1
