"""The optimizers of all ranks are alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.findings import Finding, Outcome
from audit.testing.judging import check, outcome, report
from tests.zero import PARTITION, edit_inner, edit_partition, make_zero

RULE = "deepspeed/ranks-disagree"


@pytest.fixture(params=[2, 3])
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return make_zero(tmp_path / "run", stage=request.param)


def only(run: Path) -> Finding:
    (finding,) = check(str(run), RULE)
    assert finding.blocks_resume
    assert finding.file == f"global_step200/{PARTITION.format(1)}"
    assert [item.rule for item in report(str(run)).findings] == [RULE]
    return finding


def setting(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda inner: [group.update(values) for group in inner["param_groups"]]


def without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda inner: [entry.pop(key) for entry in inner["state"].values()]


def test_a_learning_rate_of_its_own(run: Path) -> None:
    edit_inner(run / "checkpoint-200", 1, setting(lr=0.5))

    assert "lr of group 0 is 0.5, but " in only(run).message


def test_betas_of_its_own(run: Path) -> None:
    edit_inner(run / "checkpoint-200", 1, setting(betas=(0.0, 0.5)))

    assert "betas of group 0 is (0.0, 0.5)" in only(run).message


def test_a_rank_without_a_state(run: Path) -> None:
    edit_inner(run / "checkpoint-200", 1, lambda inner: inner.update(state={}))

    assert "step of parameter 0 is not there" in only(run).message


def test_a_rank_without_one_of_the_moments(run: Path) -> None:
    edit_inner(run / "checkpoint-200", 1, without("exp_avg_sq"))

    assert "exp_avg_sq of parameter 0 is not there" in only(run).message


def test_a_rank_without_groups(run: Path) -> None:
    edit_inner(run / "checkpoint-200", 1, lambda inner: inner.update(param_groups=[]))

    assert "number of groups is 0, but 2 in" in only(run).message


def test_all_ranks_alike(run: Path) -> None:
    for rank in (0, 1):
        edit_inner(run / "checkpoint-200", rank, setting(foreach=None, fused=True))

    assert check(str(run), RULE) == []
    assert outcome(str(run), RULE, "checkpoint-200").outcome is Outcome.PASS


def test_an_optimizer_of_a_form_that_is_not_known_is_not_compared(run: Path) -> None:
    edit_inner(run / "checkpoint-200", 1, lambda inner: inner.update(param_groups=None))

    assert outcome(str(run), RULE, "checkpoint-200").outcome is Outcome.NOT_APPLICABLE


def test_a_single_rank_has_none_to_compare_with(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run")
    for step in (100, 200):
        folder = run / f"checkpoint-{step}" / f"global_step{step}"
        (folder / PARTITION.format(1)).unlink()
        edit_partition(run / f"checkpoint-{step}", 0, lambda state: {**state, "partition_count": [1, 1]})

    assert outcome(str(run), RULE, "checkpoint-200").outcome is Outcome.NOT_APPLICABLE
