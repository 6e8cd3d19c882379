import shutil
from pathlib import Path

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_scheduler, edit_torch, make_run
from tests.plugins.audit_rules.learning_rate.rates import fall, rated


def test_steps_at_rate_zero_after_the_end_of_the_schedule_are_a_warning(tmp_path: Path) -> None:
    run = rated(tmp_path, [*fall(), *[0.0] * 10])

    (finding,) = check(run, "learning-rate/zero")

    assert finding.severity is Severity.WARNING
    assert finding.checkpoint == "checkpoint-200"
    assert "Steps up to 200 were trained at learning rate 0, as logged from step 100 on" in finding.message


def test_the_stretch_at_zero_ends_where_the_rate_rises(tmp_path: Path) -> None:
    run = rated(tmp_path, [*fall(), 0.0, 0.0, *[5e-5] * 8])

    (finding,) = check(run, "learning-rate/zero")

    assert "Steps up to 120 were trained at learning rate 0, as logged from step 100 on" in finding.message


def test_a_history_with_another_scheduler_hides_none_beside_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=(100, 200), save_steps=100)
    for step in (100, 200):
        edit_torch(
            tmp_path / f"run/checkpoint-{step}/scheduler.pt",
            lambda value: {key: value[key] for key in value if key != "lr_lambdas"},
        )
    other = make_run(tmp_path / "other", steps=(300, 400), save_steps=100, seed=1, schedule="constant")
    edit_scheduler(f"{other}/checkpoint-300", _last_lr=[0.0, 0.0])
    for step in (300, 400):
        shutil.move(f"{other}/checkpoint-{step}", run)

    assert "ended at checkpoint-300" in check(run, "learning-rate/zero")[0].message


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

    assert outcome(run, "learning-rate/zero").outcome is Outcome.NOT_APPLICABLE


def test_a_schedule_that_may_pass_zero_is_not_judged(tmp_path: Path) -> None:
    run = rated(tmp_path, [*fall(), *[0.0] * 10], lr_scheduler_type="mystery")

    assert "may pass 0" in str(outcome(run, "learning-rate/zero").reason)


def test_the_scheduler_of_the_last_step_in_an_older_checkpoint_is_no_end_of_the_schedule(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (tmp_path / "checkpoint-200" / "scheduler.pt").write_bytes((tmp_path / "checkpoint-300/scheduler.pt").read_bytes())

    assert check(run, "learning-rate/zero") == []
    assert [finding.checkpoint for finding in check(run, "scheduler/step-mismatch")] == ["checkpoint-200"]


def test_a_rate_of_zero_at_the_last_step_but_one_is_told(tmp_path: Path) -> None:
    run = rated(tmp_path, [*fall(19)[:-1], 0.0, 5e-5])

    (finding,) = check(run, "learning-rate/zero")

    assert "at learning rate 0, as logged from step 190 on" in finding.message


def test_the_scheduler_of_a_later_step_hides_no_end_of_the_schedule_after_it(tmp_path: Path) -> None:
    run = make_run(tmp_path, (100, 200, 300), max_steps=600, schedule="constant")
    edit_scheduler(tmp_path / "checkpoint-100", last_epoch=150, _step_count=151)
    edit_scheduler(tmp_path / "checkpoint-200", _last_lr=[0.0, 0.0])

    (finding,) = check(run, "learning-rate/zero")

    assert "ended at checkpoint-200" in finding.message
