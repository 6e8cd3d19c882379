import os
import shutil
import time
from pathlib import Path

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_arguments, edit_state, make_run

RULE = "rotation/limit-exceeded"


def test_one_checkpoint_too_many_is_one_finding_against_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200, 300, 400), limit=3)

    (finding,) = check(run, RULE)

    assert finding.severity is Severity.ERROR
    assert finding.checkpoint is None
    assert not finding.blocks_resume
    assert "there are 4 checkpoints, but save_total_limit is 3" in finding.message
    assert (finding.expected, finding.actual) == (3, 4)
    assert "the oldest of checkpoint-100, checkpoint-200, checkpoint-300, checkpoint-400 should" in finding.message


@pytest.mark.parametrize("limit", [3, 4])
def test_as_many_as_the_limit_or_fewer_are_right(tmp_path: Path, limit: int) -> None:
    assert check(make_run(tmp_path / "run", limit=limit), RULE) == []
    assert outcome(str(tmp_path / "run"), RULE).outcome is Outcome.PASS


@pytest.mark.parametrize("limit", [None, 0, -1])
def test_without_a_limit_nothing_is_judged(tmp_path: Path, limit: int | None) -> None:
    run = make_run(tmp_path / "run", limit=limit)

    assert outcome(run, RULE).outcome is Outcome.NOT_APPLICABLE


def test_a_limit_of_one_keeps_the_best_beside_the_newest(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 300), limit=1, best=True)
    best = os.path.join(run, "checkpoint-100")
    edit_state(f"{run}/checkpoint-300", best_model_checkpoint=best, best_global_step=100)

    assert check(run, RULE) == []


def test_a_limit_of_one_keeps_nothing_beside_the_newest_where_that_is_the_best(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 300), save_steps=100, limit=1, best=True)

    (finding,) = check(run, RULE)
    assert "the oldest of checkpoint-100 should" in finding.message
    edit_arguments(f"{run}/checkpoint-300", output_dir=None)
    assert len(check(run, RULE)) == 1
    edit_arguments(f"{run}/checkpoint-300", output_dir="run")  # compared as text: another one
    assert check(run, RULE) == []


def test_the_limit_of_the_newest_arguments_counts(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", limit=2)
    edit_arguments(f"{run}/checkpoint-300", save_total_limit=5)

    assert check(run, RULE) == []


def test_a_checkpoint_whose_save_was_cut_off_does_not_count(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", limit=2)
    os.remove(f"{run}/checkpoint-300/trainer_state.json")

    assert check(run, RULE) == []


def test_a_checkpoint_that_was_half_deleted_does_not_count(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", limit=2)
    os.remove(f"{run}/checkpoint-100/optimizer.pt")
    os.utime(f"{run}/checkpoint-100", (time.time() - 3600, time.time() - 3600))  # not right now

    assert check(run, RULE) == []


def test_a_checkpoint_that_is_being_deleted_right_now_does_not_count(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", limit=2)
    hour_ago = time.time() - 3600
    for name in os.listdir(f"{run}/checkpoint-100"):
        os.utime(f"{run}/checkpoint-100/{name}", (hour_ago, hour_ago))
    os.remove(f"{run}/checkpoint-100/README.md")

    assert check(run, RULE) == []


def test_two_histories_side_by_side_are_not_judged(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (200, 300), limit=2)
    other = make_run(tmp_path / "other", (100,), seed=1)
    shutil.copytree(f"{other}/checkpoint-100", f"{run}/checkpoint-100")

    assert outcome(run, RULE).outcome is Outcome.NOT_APPLICABLE
