"""Which checkpoint may be resumed from: the newest sound one, and none where a guess could be wrong."""

import os
from pathlib import Path
from typing import Any

import pytest

from audit.facts.run import Run, open_run
from audit.findings import Finding, Severity
from audit.judging.resume import newest_lineage, resumable, resume_from
from audit.manager import load
from audit.testing.runs import edit_state, make_run

OLD, SECOND = 1_700_000_000 * 10**9, 10**9


@pytest.fixture
def path(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def opened(path: str) -> Run:
    return open_run(path, load().backends)


def finding(checkpoint: str | None, blocks: bool = True) -> Finding:
    return Finding("x/y", Severity.ERROR, checkpoint, None, "is bad", None, None, "Do something.", blocks)


def fork(path: str, times: dict[int, int]) -> Run:
    """checkpoint-300 with another history after step 100; trainer states with these times, in nanoseconds."""

    def other(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**entry, "loss": 9.0} if entry["step"] > 100 else entry for entry in history]

    edit_state(f"{path}/checkpoint-300", log_history=other)
    for step, time in times.items():
        os.utime(f"{path}/checkpoint-{step}/trainer_state.json", ns=(time, time))
    return opened(path)


def test_the_newest_checkpoint_without_a_blocking_finding_is_chosen(path: str) -> None:
    run = opened(path)
    assert resume_from(run, []) == "checkpoint-300"
    assert resume_from(run, [finding("checkpoint-300")]) == "checkpoint-200"
    assert resume_from(run, [finding("checkpoint-300"), finding("checkpoint-200")]) == "checkpoint-100"
    assert resume_from(run, [finding("checkpoint-100"), finding("checkpoint-300", blocks=False)]) == "checkpoint-300"


def test_a_blocking_finding_against_the_run_blocks_every_checkpoint(path: str) -> None:
    run = opened(path)
    assert resume_from(run, [finding(None)]) is None
    assert resume_from(run, [finding(None, blocks=False)]) == "checkpoint-300"


def test_an_incomplete_checkpoint_is_not_resumable_whatever_the_rules_say(path: str) -> None:
    Path(path, "checkpoint-300", "trainer_state.json").unlink()
    run = opened(path)
    assert not resumable(run.checkpoints[-1], [])
    assert resume_from(run, []) == "checkpoint-200"


def test_of_two_lineages_the_one_written_last_is_chosen(path: str) -> None:
    run = fork(path, {100: OLD, 200: OLD + 100 * SECOND, 300: OLD + 50 * SECOND})
    assert resume_from(run, []) == "checkpoint-200"
    run = fork(path, {100: OLD, 200: OLD + 50 * SECOND, 300: OLD + 100 * SECOND})
    assert resume_from(run, []) == "checkpoint-300"
    assert resume_from(run, [finding("checkpoint-300")]) == "checkpoint-100"


@pytest.mark.parametrize("apart", [0, SECOND])
def test_of_two_lineages_written_at_once_none_is_guessed(path: str, apart: int) -> None:
    run = fork(path, {100: OLD, 200: OLD, 300: OLD + apart})
    assert newest_lineage(run, []) is None
    assert resume_from(run, []) is None


def test_a_lineage_without_a_resumable_checkpoint_is_none_to_choose(path: str) -> None:
    run = fork(path, {100: OLD, 200: OLD, 300: OLD})
    assert resume_from(run, [finding("checkpoint-200")]) == "checkpoint-300"
    assert resume_from(run, [finding("checkpoint-100"), finding("checkpoint-300")]) == "checkpoint-200"


def test_a_checkpoint_of_no_lineage_is_not_chosen_where_others_have_one(path: str) -> None:
    edit_state(f"{path}/checkpoint-300", log_history="lost")
    assert resume_from(opened(path), []) == "checkpoint-200"


def test_a_readable_order_needs_more_than_a_second(path: str) -> None:
    run = fork(path, {100: OLD, 200: OLD, 300: OLD + SECOND + 1})
    assert resume_from(run, []) == "checkpoint-300"


def test_only_a_judged_checkpoint_is_chosen(path: str) -> None:
    run = opened(f"{path}/checkpoint-200")
    assert resume_from(run, []) == "checkpoint-200"
    assert resume_from(run, [finding("checkpoint-200")]) is None


def test_without_any_history_there_is_no_lineage_and_nothing_to_choose(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-5").mkdir()
    run = opened(str(tmp_path))
    assert newest_lineage(run, []) == ()
    assert resume_from(run, []) is None
