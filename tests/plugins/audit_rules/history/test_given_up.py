"""A checkpoint that was given up with ``--back-to`` and is in the run again."""

import shutil
from pathlib import Path

import pytest

from audit.ledger.back_events import GoingBack, WentBack
from audit.ledger.batch_events import LegBegun
from audit.ledger.store import open_ledger
from audit.testing.judging import check
from audit.testing.runs import edit_state, make_run
from tests.audit.seals import verified

RULE = "history/given-up"
LEG = LegBegun("d" * 64, "a.jsonl", 1, 200, 300, 0, 8, 4, 1, None, 42, None, None, 1, "checkpoint-200")


@pytest.fixture
def run(tmp_path: Path) -> str:
    """Checkpoints of steps 100, 200 and 300, all of them sealed."""
    path = make_run(tmp_path / "run")
    verified(path)
    return path


def add(run: str, *events: GoingBack | WentBack | LegBegun) -> None:
    ledger = open_ledger(run, write=True)
    assert ledger is not None
    for event in events:
        ledger.append(event)
    ledger.close()


def save_again(saved: Path) -> None:
    shutil.copytree(saved, f"{saved}.new", copy_function=shutil.copyfile)  # with times of its own
    shutil.rmtree(saved)
    Path(f"{saved}.new").rename(saved)


def test_what_was_given_up_and_is_there_again_is_found_whatever_was_remembered(run: str) -> None:
    add(run, GoingBack("checkpoint-200", 200, "", ()), WentBack(200))

    report = verified(run)

    assert [(item.rule, item.checkpoint, item.blocks_resume) for item in report.findings] == [
        (RULE, "checkpoint-300", True)
    ]
    assert "went back to checkpoint-200" in report.findings[0].message
    assert report.resume_from == "checkpoint-200"


def test_a_leg_that_saved_the_step_again_makes_it_another_checkpoint(run: str) -> None:
    add(run, GoingBack("checkpoint-200", 200, "", ()), WentBack(200), LEG)
    save_again(Path(run, "checkpoint-300"))

    assert check(run, RULE) == []


def test_going_forward_again_undoes_it_until_a_leg_has_begun(run: str) -> None:
    add(run, GoingBack("checkpoint-100", 100, "", ()), WentBack(100))
    add(run, GoingBack("checkpoint-200", 200, "", ()), WentBack(200))
    assert [item.checkpoint for item in check(run, RULE)] == ["checkpoint-300"]

    add(run, GoingBack("checkpoint-300", 300, "", ()), WentBack(300))
    assert check(run, RULE) == []


def test_what_was_given_up_before_a_leg_stays_so(run: str) -> None:
    add(run, GoingBack("checkpoint-100", 100, "", ()), WentBack(100), LEG._replace(first_step=100))
    add(run, GoingBack("checkpoint-300", 300, "", ()), WentBack(300))

    assert [item.checkpoint for item in check(run, RULE)] == ["checkpoint-200"]


def test_a_run_that_never_went_back_is_no_finding(run: str) -> None:
    assert check(run, RULE) == []


def test_the_history_that_goes_on_is_not_taken_for_that_of_another_run(run: str) -> None:
    add(run, GoingBack("checkpoint-100", 100, "", ()), WentBack(100), LEG._replace(first_step=100, last_step=200))
    save_again(Path(run, "checkpoint-200"))
    edit_state(Path(run, "checkpoint-200"), log_history=lambda log: [*log[:-1], {**log[-1], "loss": 9.9}])

    report = verified(run)

    assert [(item.rule, item.checkpoint) for item in report.findings] == [(RULE, "checkpoint-300")]
    assert report.resume_from == "checkpoint-200"


def test_rows_older_than_the_seal_give_nothing_up(run: str) -> None:
    ledger = open_ledger(run, write=True)
    assert ledger is not None
    ledger.append(GoingBack("checkpoint-200", 200, "", ()), time="2026-01-01T00:00:00Z")  # as in a snapshot
    ledger.close()

    assert check(run, RULE) == []
