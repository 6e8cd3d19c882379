from pathlib import Path

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import make_run
from tests.audit.seals import execute, verified

RULE = "ledger/edited"


@pytest.fixture
def run(tmp_path: Path) -> str:
    path = make_run(tmp_path / "run")
    verified(path)
    verified(path)
    return path


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rows SET content = replace(content, '300', '100') WHERE number = 1",
        "DELETE FROM rows WHERE number = 2",
        "INSERT INTO rows SELECT number + 1000, time, kind, content, digest FROM rows WHERE number = 1",
    ],
)
def test_a_row_that_was_changed_taken_out_or_put_in_is_an_error(run: str, statement: str) -> None:
    execute(run, statement)

    report = verified(run)

    assert [(item.rule, item.severity, item.checkpoint) for item in report.findings] == [(RULE, Severity.ERROR, None)]
    assert report.findings[0].file == ".audit/ledger.db"


def test_its_seals_are_not_believed_and_nothing_is_added_to_it(run: str) -> None:
    execute(run, "DELETE FROM rows WHERE number = 2")
    before = Path(run, ".audit", "ledger.db").read_bytes()

    report = verified(run)

    assert {item.sealed for item in report.checkpoints} == {False}
    assert report.resume_from == "checkpoint-300"
    assert Path(run, ".audit", "ledger.db").read_bytes() == before


def test_an_untouched_ledger_is_no_finding(run: str) -> None:
    assert outcome(run, RULE).outcome is Outcome.PASS


def test_rows_cut_off_at_the_end_leave_the_chain_whole(run: str) -> None:
    execute(run, "DELETE FROM rows WHERE number = (SELECT max(number) FROM rows)")

    assert check(run, RULE) == []


def test_a_run_without_a_ledger_is_no_finding(tmp_path: Path) -> None:
    assert outcome(make_run(tmp_path), RULE, ledger=False).outcome is Outcome.PASS
