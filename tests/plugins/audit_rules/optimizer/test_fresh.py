"""An optimizer as new."""

from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome, report
from audit.testing.runs import edit_optimizer, make_run
from audit.testing.torch_files import FakeTensor

Value = dict[str, Any]


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def counts(*steps: float) -> Callable[[Value], None]:
    """Set the counts of the parameters, the last one for all that are left."""

    def change(value: Value) -> None:
        for position, entry in enumerate(value["state"].values()):
            entry["step"] = FakeTensor("F32", (), pack("<f", steps[min(position, len(steps) - 1)]))

    return change


def moments(value: Value, keys: tuple[str, ...] = ("exp_avg", "exp_avg_sq")) -> None:
    for entry in value["state"].values():
        for key in keys:
            entry[key] = entry[key]._replace(data=bytes(len(entry[key].data)))


def place(run: str, step: int = 300) -> Path:
    return Path(run, f"checkpoint-{step}")


def families(run: str) -> list[str]:
    return [finding.rule for finding in report(run, "optimizer", "scheduler").findings]


def sgd(value: Value) -> None:
    value["state"].clear()
    for group in value["param_groups"]:
        del group["betas"], group["eps"]
        group.update(momentum=0, dampening=0, nesterov=False)


def test_no_state_at_all_is_found(run: str) -> None:
    edit_optimizer(place(run), lambda value: value["state"].clear())
    (finding,) = report(run, "optimizer").findings
    assert finding.rule == "optimizer/fresh"
    assert "no state for any of its 8 parameters after 300 steps" in finding.message
    assert (finding.expected, finding.actual) == (300, 0)
    assert finding.blocks_resume


@pytest.mark.parametrize("count", [0.0, 1.0])
def test_a_count_of_at_most_one_is_fresh_and_no_second_finding(run: str, count: float) -> None:
    edit_optimizer(place(run), counts(count))
    assert families(run) == ["optimizer/fresh"]


def test_moments_of_zeros_with_the_count_kept_are_found(run: str) -> None:
    edit_optimizer(place(run), moments)
    (finding,) = report(run, "optimizer").findings
    assert finding.rule == "optimizer/fresh"
    assert "16 moments, all of them zero" in finding.message
    assert (finding.expected, finding.actual) == (300, 0)


def test_some_moments_of_zeros_are_legitimate(run: str) -> None:
    edit_optimizer(place(run), lambda value: moments(value, ("exp_avg",)))
    assert not check(run, "optimizer/fresh")


def test_one_step_leaves_a_count_of_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (1,), max_steps=10)
    assert outcome(run, "optimizer/fresh", "checkpoint-1").outcome is Outcome.NOT_APPLICABLE


def test_two_steps_leave_more(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (2,), max_steps=10)
    edit_optimizer(place(run, 2), lambda value: value["state"].clear())
    assert len(check(run, "optimizer/fresh")) == 1


def test_fp16_may_skip_the_first_updates(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (4,), max_steps=40, logging_steps=1, fp16=True)
    edit_optimizer(place(run, 4), lambda value: value["state"].clear())
    assert outcome(run, "optimizer/fresh", "checkpoint-4").outcome is Outcome.NOT_APPLICABLE


def test_sgd_keeps_no_state_and_writes_the_same_file_again(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", schedule="constant")
    for step in (100, 200, 300):
        edit_optimizer(place(run, step), sgd)
    assert not report(run, "optimizer").findings
    assert "no state" in str(outcome(run, "optimizer/unchanged", "checkpoint-300").reason)


def test_a_sound_run_passes(run: str) -> None:
    for rule in ("unchanged", "fresh", "step-mismatch"):
        assert outcome(run, f"optimizer/{rule}", "checkpoint-300").outcome is Outcome.PASS


def test_in_fp16_what_was_there_before_cannot_be_skipped_away(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (4, 8), max_steps=40, logging_steps=1, fp16=True)
    edit_optimizer(place(run, 8), lambda value: value["state"].clear())
    assert len(check(run, "optimizer/fresh")) == 1
