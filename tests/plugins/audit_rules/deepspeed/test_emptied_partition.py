"""A slice of nothing but zeros is no slice that was trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome
from audit.testing.torch_files import FakeTensor
from audit_rules._updates import OVERFLOWS
from tests.zero import PARTITION, edit_partition, make_zero

RULE = "deepspeed/emptied-partition"


@pytest.fixture(params=[2, 3])
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return make_zero(tmp_path / "run", stage=request.param)


def zeros(tensor: FakeTensor) -> FakeTensor:
    return tensor._replace(data=bytes(len(tensor.data)))


def moments(change: Callable[[FakeTensor], FakeTensor], *keys: str) -> Callable[[dict[str, Any]], Any]:
    def apply(state: dict[str, Any]) -> dict[str, Any]:
        inner = state.get("base_optimizer_state") or state["optimizer_state_dict"]
        for entry in inner["state"].values():
            entry.update({key: change(entry[key]) for key in keys})
        return state

    return apply


def weights(state: dict[str, Any]) -> dict[str, Any]:
    key = "fp32_flat_groups" if "fp32_flat_groups" in state else "single_partition_of_fp32_groups"
    return {**state, key: [zeros(item) for item in state[key]]}


def message(run: Path) -> str:
    (finding,) = check(str(run), RULE)
    assert finding.blocks_resume
    assert finding.file == f"global_step200/{PARTITION.format(1)}"
    return finding.message


def test_a_rank_without_moments_that_had_some(run: Path) -> None:
    edit_partition(run / "checkpoint-200", 1, moments(zeros, "exp_avg", "exp_avg_sq"))

    assert "all moments of group 0 are zero, and were not in the checkpoint before" in message(run)


def test_a_rank_that_never_had_moments_may_be_one_of_parameters_that_are_not_used(run: Path) -> None:
    for step in (100, 200):
        edit_partition(run / f"checkpoint-{step}", 1, moments(zeros, "exp_avg", "exp_avg_sq"))

    assert check(str(run), RULE) == []


def test_one_kind_of_moments(run: Path) -> None:
    edit_partition(run / "checkpoint-200", 1, moments(zeros, "exp_avg"))

    assert "all exp_avg of group 0 are zero, and the other moments are not" in message(run)


def test_weights(run: Path) -> None:
    edit_partition(run / "checkpoint-200", 1, weights)

    assert "all weights of group 0 are zero, though they were trained" in message(run)


def test_a_sound_run(run: Path) -> None:
    assert check(str(run), RULE) == []
    assert outcome(str(run), RULE, "checkpoint-200").outcome is Outcome.PASS


@pytest.mark.parametrize(("step", "found"), [(OVERFLOWS, 0), (OVERFLOWS + 1, 1)])
def test_weights_may_be_zero_while_every_update_may_still_have_been_skipped(
    tmp_path: Path, step: int, found: int
) -> None:
    run = make_zero(tmp_path / "run", steps=(step,))
    edit_partition(run / f"checkpoint-{step}", 1, weights)

    assert len(check(str(run), RULE)) == found


def test_an_optimizer_with_one_kind_of_moments(run: Path) -> None:
    def without(state: dict[str, Any]) -> dict[str, Any]:
        inner = state.get("base_optimizer_state") or state["optimizer_state_dict"]
        for entry in inner["state"].values():
            del entry["exp_avg_sq"]
        return state

    edit_partition(run / "checkpoint-200", 1, without)

    assert check(str(run), RULE) == []
