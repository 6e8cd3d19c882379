"""Which checkpoint may be resumed from: the newest sound one, and none where a guess could be wrong."""

import os
from pathlib import Path
from typing import Any

import pytest

from audit.facts.run import Run, open_run
from audit.findings import Finding, Outcome, RuleOutcome, Severity
from audit.judging.resume import crashes, fault, newest_lineage, provable, resumable, resume_from, why_not
from audit.manager import load
from audit.report import Report
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


def test_it_is_said_why_a_checkpoint_is_not_handed_out_and_nothing_of_a_sound_one(path: str) -> None:
    Path(path, "checkpoint-300", "trainer_state.json").unlink()
    run = opened(path)
    (lineage,) = run.lineages
    first, second, cut = run.checkpoints

    assert why_not(first, [finding("checkpoint-200")], lineage, run) is None
    assert why_not(second, [finding("checkpoint-200")], lineage, run) == "is bad (x/y)"
    assert why_not(first, [finding(None)], lineage, run) == "is bad (x/y)"
    assert why_not(cut, [], lineage, run) == "was not written to its end"


def test_it_is_said_that_a_checkpoint_is_of_another_history(path: str) -> None:
    run = fork(path, {})
    mine = next(lineage for lineage in run.lineages if run.checkpoints[2] in lineage)

    assert why_not(run.checkpoints[2], [], mine, run) is None
    assert "belongs to another history" in (why_not(run.checkpoints[1], [], mine, run) or "")


def test_a_checkpoint_by_itself_is_at_fault_if_it_was_cut_off_and_not_while_it_is_written(path: str) -> None:
    Path(path, "checkpoint-300", "trainer_state.json").unlink()
    cut = open_run(path, load().backends, settle_seconds=0).checkpoints[-1]
    written = open_run(path, load().backends, settle_seconds=600).checkpoints[-1]

    assert fault(cut, []) == "was not written to its end"
    assert fault(written, []) is None
    assert fault(written, [finding("checkpoint-300")]) == "is bad (x/y)"
    assert fault(opened(path).checkpoints[0], [finding(None)]) is None


def proven(path: str, *findings: Finding, crashed: str | None = "") -> list[str]:
    outcomes = () if crashed == "" else (RuleOutcome("x/y", crashed, Outcome.ERROR, "KeyError"),)
    report = Report(path, None, 300, None, None, (), findings, outcomes, "full", 0, 0.0)
    return [checkpoint.name for checkpoint in provable(opened(path).checkpoints, report)]


def test_what_no_rule_crashed_on_and_no_error_is_against_is_proven(path: str) -> None:
    mild = finding("checkpoint-100", blocks=False)._replace(severity=Severity.WARNING)

    assert proven(path, mild) == ["checkpoint-100", "checkpoint-200", "checkpoint-300"]
    assert proven(path, finding("checkpoint-100", blocks=False)) == ["checkpoint-200", "checkpoint-300"]
    assert proven(path, mild._replace(blocks_resume=True)) == ["checkpoint-200", "checkpoint-300"]
    assert proven(path, crashed="checkpoint-200") == ["checkpoint-100", "checkpoint-300"]
    assert proven(path, crashed=None) == []


def test_a_rule_that_crashed_on_a_checkpoint_blocks_it_and_one_on_the_run_blocks_all(path: str) -> None:
    run = opened(path)

    def after(checkpoint: str | None) -> str | None:
        crashed = (RuleOutcome("x/y", checkpoint, Outcome.ERROR, "KeyError"),)
        return resume_from(run, crashes(Report(path, None, 300, None, None, (), (), crashed, "full", 0, 0.0)))

    assert (after("checkpoint-300"), after(None)) == ("checkpoint-200", None)
