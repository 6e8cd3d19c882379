from pathlib import Path

import pytest

from audit.findings import Severity
from audit.testing.judging import check, outcome, report
from audit.testing.runs import edit_arguments, edit_state
from tests.audit.batch_rows import leg, tell
from tests.plugins.audit_rules.learning_rate.rates import fall, rated


def test_a_schedule_that_starts_again_is_one_finding(tmp_path: Path) -> None:
    run = rated(tmp_path, fall() + fall() + fall())

    (finding,) = report(run, "learning-rate/rose-again", "learning-rate/zero").findings

    assert finding.rule == "learning-rate/rose-again"
    assert finding.severity is Severity.ERROR
    assert finding.checkpoint == "checkpoint-200"
    assert "from 0 at step 100 to 9e-05 at step 110, and 1 more times: a linear schedule" in finding.message


@pytest.mark.parametrize("kind", ["cosine", "constant_with_warmup", "polynomial", "cosine_with_restarts"])
def test_other_schedules_that_never_rise(tmp_path: Path, kind: str) -> None:
    run = rated(tmp_path, fall() + fall(), lr_scheduler_type=kind)

    assert [item.severity for item in check(run, "learning-rate/rose-again")] == [Severity.ERROR]


def test_a_warm_up_and_a_fall_pass(tmp_path: Path) -> None:
    run = rated(tmp_path, [1e-5 * index for index in range(10)] + fall())

    assert check(run, "learning-rate/rose-again") == []


def test_restarts_that_were_asked_for_are_legal(tmp_path: Path) -> None:
    cycles = {"num_cycles": 2}
    run = rated(tmp_path, fall() + fall(), lr_scheduler_type="cosine_with_restarts", lr_scheduler_kwargs=cycles)

    assert "may rise" in str(outcome(run, "learning-rate/rose-again").reason)


def test_a_linear_schedule_that_falls_in_a_curve_is_the_programs_own(tmp_path: Path) -> None:
    curve = [1e-4 * (1 - (index / 10) ** 3) for index in range(10)]
    run = rated(tmp_path, curve + curve)

    assert "its own scheduler" in str(outcome(run, "learning-rate/rose-again").reason)


def test_a_schedule_of_unknown_type_is_a_warning_at_a_known_boundary_only(tmp_path: Path) -> None:
    run = rated(tmp_path, fall() + fall(), lr_scheduler_type="mystery")
    assert check(run, "learning-rate/rose-again") == []

    edit_arguments(tmp_path / "checkpoint-200", num_train_epochs=7)

    assert [item.severity for item in check(run, "learning-rate/rose-again")] == [Severity.WARNING]


def test_a_log_without_rates_is_not_judged(tmp_path: Path) -> None:
    run = rated(tmp_path, fall())
    edit_state(tmp_path / "checkpoint-100", log_history=[])

    assert "no learning rate" in str(outcome(run, "learning-rate/rose-again").reason)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("cosine", "a cosine schedule"), ("cosine_with_restarts", "a cosine_with_restarts schedule of one cycle")],
)
def test_the_message_says_that_the_schedule_was_drawn_out(tmp_path: Path, kind: str, said: str) -> None:
    run = rated(tmp_path, fall() + fall(), lr_scheduler_type=kind)
    (finding,) = check(run, "learning-rate/rose-again")
    assert finding.message.endswith(f": {said} does not rise")

    edit_state(tmp_path / "checkpoint-100", max_steps=100)
    edit_state(tmp_path / "checkpoint-200", max_steps=200)

    (finding,) = check(run, "learning-rate/rose-again")
    assert "max_steps was raised from 100 to 200 at a resume" in finding.message


@pytest.mark.parametrize(("setting", "found"), [("learning_rate", 0), ("weight_decay", 1)])
def test_a_rate_that_a_person_raised_is_no_violation(tmp_path: Path, setting: str, found: int) -> None:
    run = rated(tmp_path, [1e-4] * 5 + [5e-5] * 5 + [2e-4] * 10, lr_scheduler_type="constant_with_warmup")
    tell(run, leg("a", 0, 100), leg("b", 100, 200) | {"changes": {setting: 2e-4}})

    assert len(check(run, "learning-rate/rose-again")) == found
