from pathlib import Path

from audit.testing.judging import check, report
from audit.testing.runs import edit_state, make_run
from tests.lightning import make_lightning


def test_a_state_of_another_step_is_found(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    edit_state(tmp_path / "checkpoint-300", global_step=0)

    (finding,) = check(run, "steps/directory-mismatch")

    assert finding.checkpoint == "checkpoint-300"
    assert (finding.expected, finding.actual) == (300, 0)
    assert "The directory is named after step 300, but its trainer state is of step 0" in finding.message
    assert finding.blocks_resume


def test_a_copy_under_a_higher_number_is_one_finding_of_these_families(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (tmp_path / "checkpoint-200").rename(tmp_path / "checkpoint-900")

    found = report(run, "steps", "history").findings

    assert [(item.rule, item.checkpoint) for item in found] == [("steps/directory-mismatch", "checkpoint-900")]


def test_a_sound_run_and_a_number_with_leading_zeros_pass(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (tmp_path / "checkpoint-300").rename(tmp_path / "checkpoint-0300")

    assert check(run, "steps/directory-mismatch") == []


def test_a_file_of_lightning_under_another_step_is_found_if_the_other_names_are_those_of_their_steps(
    tmp_path: Path,
) -> None:
    run = make_lightning(tmp_path / "run", (10, 20, 30), last=False)
    assert check(str(run), "steps/directory-mismatch") == []
    (run / "epoch=1-step=20.ckpt").rename(run / "epoch=1-step=25.ckpt")

    (finding,) = check(str(run), "steps/directory-mismatch")

    assert (finding.checkpoint, finding.expected, finding.actual) == ("epoch=1-step=25.ckpt", 25, 20)
    assert "The file is named after step 25, but it holds a state of step 20" in finding.message


def test_a_file_of_lightning_is_not_judged_where_the_names_may_count_something_else(tmp_path: Path) -> None:
    run = make_lightning(tmp_path / "run", (10, 20, 30), last=False)
    (run / "epoch=1-step=20.ckpt").rename(run / "epoch=1-step=25.ckpt")
    (run / "epoch=2-step=30.ckpt").rename(run / "epoch=2-step=35.ckpt")
    assert check(str(run), "steps/directory-mismatch") == []

    (run / "epoch=0-step=10.ckpt").unlink()
    (run / "epoch=2-step=35.ckpt").unlink()  # nothing to compare with
    assert check(str(run), "steps/directory-mismatch") == []
