import shutil
from pathlib import Path

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_arguments, edit_state, make_run

RULE = "rotation/best-deleted"


def tracked(path: Path, best: str | None = None) -> str:
    run = make_run(path, best=True)
    edit_state(f"{run}/checkpoint-300", best_model_checkpoint=best or f"{run}/checkpoint-100", best_global_step=100)
    return run


def test_the_best_checkpoint_that_is_gone_is_named(tmp_path: Path) -> None:
    run = tracked(tmp_path / "run")
    shutil.rmtree(f"{run}/checkpoint-100")

    (finding,) = check(run, RULE)

    assert finding.severity is Severity.ERROR
    assert finding.expected == "checkpoint-100"
    assert finding.message.startswith("checkpoint-100, the best checkpoint according to checkpoint-300")


def test_a_best_checkpoint_that_is_there_is_right(tmp_path: Path) -> None:
    assert check(tracked(tmp_path / "run"), RULE) == []


def test_a_renamed_tree_is_compared_by_the_last_component(tmp_path: Path) -> None:
    tracked(tmp_path / "run")
    shutil.move(tmp_path / "run", tmp_path / "renamed")

    assert outcome(str(tmp_path / "renamed"), RULE).outcome is Outcome.PASS

    shutil.rmtree(tmp_path / "renamed/checkpoint-100")

    assert len(check(str(tmp_path / "renamed"), RULE)) == 1


def test_a_path_of_windows_is_understood(tmp_path: Path) -> None:
    run = tracked(tmp_path / "run", r"C:\models\run\checkpoint-100")

    assert check(run, RULE) == []

    shutil.rmtree(f"{run}/checkpoint-100")

    assert len(check(run, RULE)) == 1


def test_what_was_best_earlier_may_be_rotated_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=True)
    shutil.rmtree(f"{run}/checkpoint-100")
    edit_state(f"{run}/checkpoint-200", best_model_checkpoint=f"{run}/checkpoint-100", best_global_step=100)

    assert check(run, RULE) == []


def test_a_best_step_that_was_never_saved_is_right(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=True)
    edit_state(f"{run}/checkpoint-300", best_model_checkpoint=None, best_global_step=250)

    assert outcome(run, RULE).outcome is Outcome.NOT_APPLICABLE


def test_the_best_of_the_run_from_which_this_one_was_started_is_not_missed(tmp_path: Path) -> None:
    run = tracked(tmp_path / "second", "first/checkpoint-50")
    edit_arguments(f"{run}/checkpoint-300", output_dir="second")

    assert outcome(run, RULE).outcome is Outcome.NOT_APPLICABLE


def test_of_two_histories_each_has_a_best_one_of_its_own(tmp_path: Path) -> None:
    run = tracked(tmp_path / "run")
    shutil.rmtree(f"{run}/checkpoint-100")
    make_run(tmp_path / "other", (200,), seed=1)
    shutil.rmtree(f"{run}/checkpoint-200")
    shutil.move(f"{tmp_path}/other/checkpoint-200", run)

    assert outcome(run, RULE).outcome is Outcome.NOT_APPLICABLE
