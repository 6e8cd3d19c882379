import os
import shutil
import time
from pathlib import Path

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_arguments, edit_state, make_run

RULE = "rotation/wrong-victim"
START = 1_700_000_000


def dated(path: Path, **options: object) -> str:
    """A run whose checkpoints were saved an hour apart."""
    run = make_run(path, limit=3, **options)  # type: ignore[arg-type]
    for hour, step in enumerate((100, 200, 300)):
        settle(f"{run}/checkpoint-{step}", START + 3600 * hour)
    return run


def settle(checkpoint: str, seconds: float) -> None:
    for name in os.listdir(checkpoint):
        os.utime(f"{checkpoint}/{name}", (seconds, seconds))
    os.utime(checkpoint, (seconds, seconds))


def test_a_file_written_into_an_old_checkpoint_makes_rotation_delete_a_younger_one(tmp_path: Path) -> None:
    run = dated(tmp_path / "run")
    Path(run, "checkpoint-100", "notes.txt").write_text("a good one", encoding="utf-8")

    (finding,) = check(run, RULE)

    assert finding.severity is Severity.WARNING
    assert finding.checkpoint == "checkpoint-100"
    assert finding.message.startswith("rotation will delete checkpoint-200 before the older checkpoint-100")
    assert not finding.blocks_resume


def test_a_run_with_the_times_of_its_saves_is_right(tmp_path: Path) -> None:
    run = dated(tmp_path / "run")

    assert check(run, RULE) == []
    assert outcome(run, RULE).outcome is Outcome.PASS


def test_a_copy_in_the_order_of_names_is_right(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (20, 100, 300), limit=3)
    for minute, step in enumerate((100, 20, 300)):  # not in order: 100 sorts before 20
        settle(f"{run}/checkpoint-{step}", START + 60 * minute)

    assert check(run, RULE) == []


def test_files_with_their_old_times_in_directories_made_anew_are_right(tmp_path: Path) -> None:
    run = dated(tmp_path / "run")
    for second, step in enumerate((300, 100, 200)):
        os.utime(f"{run}/checkpoint-{step}", (START + 1_000_000 + second,) * 2)

    assert check(run, RULE) == []


def test_a_copy_with_all_times_equal_is_right(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", limit=3)
    for step in (100, 200, 300):
        settle(f"{run}/checkpoint-{step}", START)

    assert check(run, RULE) == []


def test_a_change_before_the_next_save_does_not_alter_the_order(tmp_path: Path) -> None:
    run = dated(tmp_path / "run")
    os.utime(f"{run}/checkpoint-100", (START + 600, START + 600))

    assert check(run, RULE) == []


def test_a_change_in_the_newest_checkpoint_does_not_alter_the_order(tmp_path: Path) -> None:
    run = dated(tmp_path / "run")
    Path(run, "checkpoint-300", "notes.txt").write_text("a good one", encoding="utf-8")

    assert check(run, RULE) == []


def test_the_best_checkpoint_may_be_touched_since_it_is_kept_anyway(tmp_path: Path) -> None:
    run = dated(tmp_path / "run", best=True)
    edit_state(f"{run}/checkpoint-300", best_model_checkpoint=f"{run}/checkpoint-100", best_global_step=100)
    Path(run, "checkpoint-100", "notes.txt").write_text("a good one", encoding="utf-8")

    assert check(run, RULE) == []


def test_a_time_in_the_future_makes_the_next_checkpoint_the_oldest(tmp_path: Path) -> None:
    run = dated(tmp_path / "run")
    os.utime(f"{run}/checkpoint-300", (time.time() + 86400,) * 2)

    (finding,) = check(run, RULE)

    assert finding.checkpoint == "checkpoint-300"
    assert "24 hours in the future" in finding.message


def test_a_checkpoint_that_lacks_a_file_has_its_finding_already(tmp_path: Path) -> None:
    run = dated(tmp_path / "run")
    os.remove(f"{run}/checkpoint-100/optimizer.pt")

    assert check(run, RULE) == []


def test_a_best_recorded_by_another_text_is_not_protected(tmp_path: Path) -> None:
    run = dated(tmp_path / "run", best=True)
    edit_arguments(f"{run}/checkpoint-300", output_dir="run")

    (finding,) = check(run, RULE)

    assert finding.checkpoint is None
    assert (finding.expected, finding.actual) == ("run/checkpoint-300", f"{run}/checkpoint-300")


def test_nothing_is_said_of_the_best_where_the_directory_is_not_known(tmp_path: Path) -> None:
    run = dated(tmp_path / "run", best=True)
    edit_arguments(f"{run}/checkpoint-300", output_dir=None)

    assert check(run, RULE) == []


def test_a_search_of_hyperparameters_writes_to_directories_of_its_own(tmp_path: Path) -> None:
    run = dated(tmp_path / "run", best=True)
    edit_arguments(f"{run}/checkpoint-300", output_dir="run")
    edit_state(f"{run}/checkpoint-300", is_hyper_param_search=True)

    assert check(run, RULE) == []


def test_the_same_text_spelled_with_a_slash_more_is_protected(tmp_path: Path) -> None:
    run = dated(tmp_path / "run", best=True)
    edit_arguments(f"{run}/checkpoint-300", output_dir=f"{run}//")

    assert check(run, RULE) == []


def test_a_moved_run_keeps_both_texts_and_is_right(tmp_path: Path) -> None:
    dated(tmp_path / "run", best=True)
    shutil.move(tmp_path / "run", tmp_path / "moved")

    assert check(str(tmp_path / "moved"), RULE) == []


def test_without_a_limit_nothing_is_rotated(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")

    assert outcome(run, RULE).outcome is Outcome.NOT_APPLICABLE


def test_a_change_counts_if_it_is_more_than_two_seconds_after_the_save(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", limit=3)
    for second, step in enumerate((100, 200, 300)):
        settle(f"{run}/checkpoint-{step}", START + second)

    os.utime(f"{run}/checkpoint-100", (START + 2,) * 2)
    assert check(run, RULE) == []
    os.utime(f"{run}/checkpoint-100", (START + 2.5,) * 2)
    assert len(check(run, RULE)) == 1


def test_how_much_later_it_was_is_told_in_hours_from_two_on(tmp_path: Path) -> None:
    run = dated(tmp_path / "run")
    os.utime(f"{run}/checkpoint-100", (START + 7200,) * 2)
    assert "2 hours after it was saved" in check(run, RULE)[0].message
    os.utime(f"{run}/checkpoint-100", (START + 7140,) * 2)
    assert "119 minutes after it was saved" in check(run, RULE)[0].message
