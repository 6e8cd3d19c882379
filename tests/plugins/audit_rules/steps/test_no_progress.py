from pathlib import Path
from typing import Any

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import make_run
from tests.audit.batch_rows import event, finished, leg, tell

RULE = "steps/no-progress"


@pytest.fixture
def run(tmp_path: Path) -> str:
    """Two batches, the second of which has just begun after step 200."""
    path = make_run(tmp_path / "run", (100, 200), max_steps=900)
    return tell(path, leg("monday", 0, 200), finished("monday", 0, 200), leg("tuesday", 200, 300))


def test_a_batch_that_ended_where_it_began_is_found(run: str) -> None:
    tell(run, event("failed", "tuesday", step=200, kind="no-progress", reason="no step was trained"))

    (finding,) = check(run, RULE)

    assert (finding.severity, finding.checkpoint, finding.blocks_resume) == (Severity.ERROR, None, False)
    assert "tuesday.jsonl was trained without a single step" in finding.message
    assert "400 examples" in finding.message
    assert "of the rest" not in finding.message


def test_a_batch_that_counts_as_finished_without_a_step_is_found(run: str) -> None:
    tell(run, finished("tuesday", 200, 200), event("retired", "tuesday"))

    assert len(check(run, RULE)) == 1


def test_so_is_one_whose_examples_nobody_counted(run: str) -> None:
    tell(run, leg("wednesday", 200, None, per_step=None), finished("wednesday", 200, 200))

    assert len(check(run, RULE)) == 1


def test_the_rest_of_a_batch_that_was_stopped_in_the_middle_counts_alone(run: str) -> None:
    tell(run, event("stopped", "tuesday", step=250, signal=15), leg("tuesday", 250, 300, done=200))
    tell(run, event("failed", "tuesday", step=250, kind="no-progress", reason="no step was trained"))

    (finding,) = check(run, RULE)

    assert "without a single step of the rest" in finding.message


@pytest.mark.parametrize(
    "events",
    [
        [finished("tuesday", 200, 201)],
        [
            event("failed", "tuesday", step=200, kind="no-progress"),
            leg("tuesday", 200, 300),
            finished("tuesday", 200, 300),
        ],
        [finished("tuesday", 200, 200), leg("wednesday", 200, 250), finished("wednesday", 200, 250)],
    ],
    ids=["a step was done", "the next call trained it", "a later batch was trained"],
)
def test_a_last_batch_that_moved_passes(run: str, events: list[dict[str, Any]]) -> None:
    tell(run, *events)

    assert outcome(run, RULE).outcome is Outcome.PASS


@pytest.mark.parametrize(
    "events",
    [
        [],
        [event("stopped", "tuesday", step=200, signal=2)],
        [event("failed", "tuesday", step=200, kind="out-of-memory", reason="CUDA out of memory")],
        [leg("empty", 200, 200), finished("empty", 200, 200, examples=0)],
        [event("lost", "tuesday"), finished("tuesday", 200, 200), event("retired", "tuesday")],
    ],
    ids=["goes on", "stopped before its first step", "crashed", "no examples", "given up"],
)
def test_a_batch_that_did_not_come_to_its_end_is_not_judged(run: str, events: list[dict[str, Any]]) -> None:
    tell(run, *events)

    assert outcome(run, RULE).outcome is Outcome.NOT_APPLICABLE


def test_without_batches_there_is_nothing_to_judge_by(tmp_path: Path) -> None:
    assert "no batch" in str(outcome(make_run(tmp_path), RULE).reason)
