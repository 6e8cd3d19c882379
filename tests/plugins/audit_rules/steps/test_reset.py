import shutil
from pathlib import Path

import pytest

from audit.cli import run as command
from audit.findings import Outcome, Severity
from audit.judging.decision import Limits
from audit.judging.guard import consult
from audit.ledger.store import open_ledger
from audit.options import Options
from audit.retention.prune import discard
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_state, make_run
from tests.audit.batch_rows import append_any, finished, leg, tell
from tests.audit.seals import verified

RULE = "steps/reset"


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A run that was seen at step 300."""
    path = make_run(tmp_path / "run", max_steps=900)
    verified(path)
    return path


def remove(run: str, *steps: int) -> None:
    for step in steps:
        shutil.rmtree(f"{run}/checkpoint-{step}")


def add(run: str, *steps: int) -> None:
    other = make_run(f"{run}-other", steps=steps, max_steps=900, save_steps=100)
    for step in steps:
        shutil.move(f"{other}/checkpoint-{step}", run)
    shutil.rmtree(other)


def handed_out(run: str, **limits: bool) -> str | None:
    return consult(run, Limits(**limits), Options(settle_seconds=0)).decision.checkpoint  # type: ignore[arg-type]


def test_a_run_that_started_over_is_found_although_rotation_removed_the_evidence(run: str) -> None:
    remove(run, 200, 300)

    (finding,) = check(run, RULE)

    assert (finding.severity, finding.checkpoint, finding.blocks_resume) == (Severity.ERROR, None, False)
    assert (finding.expected, finding.actual) == (300, 100)
    assert "The newest checkpoint is of step 100, but step 300 had been reached before" in finding.message


def test_a_run_that_vanished_is_found(run: str) -> None:
    remove(run, 100, 200, 300)

    (finding,) = check(run, RULE)

    assert "Every checkpoint is gone; step 300 had been reached" in finding.message


def test_it_stays_until_the_step_is_reached_again(run: str) -> None:
    remove(run, 200, 300)
    assert check(run, RULE)
    assert check(run, RULE)
    add(run, 300)
    assert check(run, RULE) == []


def test_a_run_that_goes_on_is_sound_whatever_rotation_deletes(run: str) -> None:
    add(run, 400)
    remove(run, 100, 200)

    assert check(run, RULE) == []


def test_without_an_earlier_verification_there_is_nothing_to_judge_by(tmp_path: Path) -> None:
    assert outcome(make_run(tmp_path), RULE).outcome is Outcome.NOT_APPLICABLE


def test_what_the_guard_handed_out_is_a_known_way_back(run: str) -> None:
    Path(run, "checkpoint-300", "optimizer.pt").unlink()
    assert handed_out(run) == "checkpoint-200"
    remove(run, 300)

    assert check(run, RULE) == []
    remove(run, 200)
    assert [finding.expected for finding in check(run, RULE)] == [200]


def test_a_fresh_start_that_was_allowed_is_a_known_way_back(run: str) -> None:
    remove(run, 100, 200, 300)
    assert handed_out(run, allow_fresh=True) is None
    add(run, 100)

    assert check(run, RULE) == []


def test_a_quarantine_is_a_known_way_back(run: str) -> None:
    ledger = open_ledger(run, write=True)
    assert ledger is not None
    append_any(ledger, "quarantine", {"checkpoint": "checkpoint-300", "step": 200})
    ledger.close()
    remove(run, 300)

    assert check(run, RULE) == []


def test_what_was_removed_with_a_proven_copy_elsewhere_is_not_missed_and_what_was_lost_is(run: str) -> None:
    discard(run, "checkpoint-300", elsewhere="me/x")
    assert check(run, RULE) == []

    remove(run, 200)
    (finding,) = check(run, RULE)
    assert (finding.expected, finding.actual) == (200, 100)
    discard(run, "checkpoint-100", elsewhere="me/x")
    assert [(item.expected, item.actual) for item in check(run, RULE)] == [(200, None)]


def test_a_quarantine_after_such_a_removal_is_a_known_way_back(run: str) -> None:
    discard(run, "checkpoint-300", elsewhere="me/x")
    assert command(["quarantine", run, "checkpoint-200", "--force"]) == 0

    assert check(run, RULE) == []


def test_an_observation_after_the_way_back_counts_again(run: str) -> None:
    remove(run, 300)
    assert handed_out(run) == "checkpoint-200"
    add(run, 400)
    verified(run)
    remove(run, 400)

    assert [finding.expected for finding in check(run, RULE)] == [400]


def test_a_cut_save_counts_for_nothing(run: str) -> None:
    add(run, 400)
    Path(run, "checkpoint-400", "trainer_state.json").unlink()
    verified(run)
    remove(run, 400)

    assert check(run, RULE) == []


def test_the_best_alone_at_the_end_of_a_training_is_no_reset(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=True, limit=1)
    verified(run)
    edit_state(f"{run}/checkpoint-100", best_model_checkpoint="run/checkpoint-100", best_global_step=100)
    remove(run, 200, 300)

    assert outcome(run, RULE).outcome is Outcome.NOT_APPLICABLE

    edit_state(f"{run}/checkpoint-100", best_model_checkpoint="run/checkpoint-50", best_global_step=50)
    assert len(check(run, RULE)) == 1


def test_a_finished_batch_whose_checkpoint_is_gone_is_found_without_an_earlier_verification(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", max_steps=900)
    tell(run, leg("monday", 0, 300), finished("monday", 0, 300))
    assert check(run, RULE) == []
    remove(run, 300)

    assert [finding.expected for finding in check(run, RULE)] == [300]


def test_a_checkpoint_that_a_leg_left_behind_may_be_rotated_away(run: str) -> None:
    """The guard passed over step 300 and the batch goes on from 200; 300 is still there and is deleted later."""
    Path(run, "checkpoint-300", "optimizer.pt").unlink()
    assert handed_out(run) == "checkpoint-200"
    tell(run, leg("monday", 200, 320))
    verified(run)
    remove(run, 300)
    add(run, 250)

    assert check(run, RULE) == []
