from pathlib import Path

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_arguments, edit_state, make_run


def test_a_checkpoint_between_two_others_that_is_gone_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100, 300, 400), save_steps=100, save_strategy="steps")

    (finding,) = check(run, "steps/gap")

    assert "checkpoint-200 is gone" in finding.message


def test_many_are_one_finding(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(10, 200), save_steps=10, logging_steps=10, save_strategy="steps")

    (finding,) = check(run, "steps/gap")

    assert "checkpoint-20, checkpoint-30" in finding.message
    assert "and 13 more are gone" in finding.message


@pytest.mark.parametrize("steps", [(300, 400, 500), (100, 200, 250), (500,)])
def test_what_rotation_takes_and_the_last_step_leave_no_gap(tmp_path: Path, steps: tuple[int, ...]) -> None:
    run = make_run(tmp_path, steps=steps, save_steps=100, limit=3, save_strategy="steps")

    assert check(run, "steps/gap") == []


def test_nothing_is_said_after_the_best_which_rotation_protects(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100, 300, 400), save_steps=100, save_strategy="steps")
    edit_state(tmp_path / "checkpoint-400", best_model_checkpoint="C:\\elsewhere\\checkpoint-100")

    assert check(run, "steps/gap") == []


def test_saves_by_epoch_have_no_grid(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100, 300, 400), save_steps=100, save_strategy="epoch")

    assert outcome(run, "steps/gap").outcome is Outcome.NOT_APPLICABLE


def test_a_changed_save_steps_is_no_gap(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100, 300), save_steps=100, save_strategy="steps")
    edit_arguments(tmp_path / "checkpoint-300", save_steps=200)

    assert check(run, "steps/gap") == []


def test_a_name_of_a_huge_step_takes_no_longer(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100, 200), save_steps=100, save_strategy="steps")
    step = 2 * 10**14
    (tmp_path / "checkpoint-200").rename(tmp_path / f"checkpoint-{step}")
    edit_state(tmp_path / f"checkpoint-{step}", global_step=step)

    (finding,) = check(run, "steps/gap")  # counted one by one it would take years

    assert "and 1999999999993 more are gone" in finding.message
