from pathlib import Path

from audit.findings import Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_scheduler, make_run
from tests.plugins.audit_rules.learning_rate.rates import fall, rated


def test_steps_at_rate_zero_after_the_end_of_the_schedule_are_a_warning(tmp_path: Path) -> None:
    run = rated(tmp_path, [*fall(), *[0.0] * 10])

    (finding,) = check(run, "learning-rate/zero")

    assert finding.severity is Severity.WARNING
    assert finding.checkpoint == "checkpoint-200"
    assert "Steps up to 200 were trained at learning rate 0, as logged from step 100 on" in finding.message


def test_a_schedule_that_had_ended_at_a_checkpoint_is_seen_in_its_scheduler(tmp_path: Path) -> None:
    run = make_run(tmp_path, schedule="constant")
    edit_scheduler(tmp_path / "checkpoint-200", _last_lr=[0.0, 0.0])

    (finding,) = check(run, "learning-rate/zero")

    assert "Step 201 was trained at learning rate 0: the schedule had ended at checkpoint-200" in finding.message


def test_the_last_step_of_a_run_and_a_warm_up_may_be_at_zero(tmp_path: Path) -> None:
    run = rated(tmp_path, [0.0, 5e-5, *fall(8)])

    assert check(run, "learning-rate/zero") == []


def test_a_rate_that_was_zero_throughout_is_a_choice(tmp_path: Path) -> None:
    run = rated(tmp_path, [0.0] * 20)

    assert check(run, "learning-rate/zero") == []


def test_a_schedule_that_may_pass_zero_is_not_judged(tmp_path: Path) -> None:
    run = rated(tmp_path, [*fall(), *[0.0] * 10], lr_scheduler_type="mystery")

    assert "may pass 0" in str(outcome(run, "learning-rate/zero").reason)


def test_the_scheduler_of_the_last_step_in_an_older_checkpoint_is_no_end_of_the_schedule(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (tmp_path / "checkpoint-200" / "scheduler.pt").write_bytes((tmp_path / "checkpoint-300/scheduler.pt").read_bytes())

    assert check(run, "learning-rate/zero") == []
    assert [finding.checkpoint for finding in check(run, "scheduler/step-mismatch")] == ["checkpoint-200"]
