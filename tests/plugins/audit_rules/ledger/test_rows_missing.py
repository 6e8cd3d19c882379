import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.findings import Outcome, Severity
from audit.judging.decision import Limits
from audit.judging.guard import consult
from audit.ledger.records import read_records
from audit.ledger.store import Ledger, Row
from audit.options import Options
from audit.retention.pins import pin
from audit.testing.judging import outcome
from audit.testing.runs import make_run
from tests.audit.seals import execute, rows, verified

RULE = "ledger/rows-missing"
SETTLED = Options(settle_seconds=0)


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A run that was verified and sealed."""
    path = make_run(tmp_path / "run")
    verified(path)
    return path


def cut(run: str) -> None:
    """Cut the end of the ledger off, from the first seal on."""
    execute(run, "DELETE FROM rows WHERE number >= (SELECT min(number) FROM rows WHERE kind = 'seal')")


def delete(run: str) -> None:
    Path(run, ".audit", "ledger.db").unlink()
    for side in Path(run, ".audit").glob("ledger.db-*"):
        side.unlink()


def begin_anew(run: str) -> None:
    """Delete the ledger and let one of another run, without a seal, take its place."""
    delete(run)
    other = make_run(Path(run).parent / "other", (100,))
    verified(other, depth="quick")
    shutil.copy(Path(other, ".audit", "ledger.db"), Path(run, ".audit", "ledger.db"))


@pytest.mark.parametrize("damage", [cut, delete, begin_anew])
def test_a_pin_shows_that_the_row_of_its_seal_is_gone(run: str, damage: Callable[[str], None]) -> None:
    pin(run, "checkpoint-300")
    assert outcome(run, RULE).outcome is Outcome.PASS
    damage(run)

    report = verified(run)

    (finding,) = report.findings
    assert (finding.rule, finding.severity, finding.blocks_resume) == (RULE, Severity.ERROR, False)
    assert "checkpoint-300 is pinned, but no seal of it is recorded" in finding.message


def test_a_file_of_checksums_shows_it(run: str) -> None:
    Path(run, ".audit", "seals").mkdir()
    Path(run, ".audit", "seals", "checkpoint-200.b3").write_text("")
    assert outcome(run, RULE).outcome is Outcome.PASS
    cut(run)

    assert ".audit/seals has checkpoint-200" in verified(run).findings[0].message


def test_a_remembered_scan_shows_it(run: str) -> None:
    cut(run)

    assert "is remembered, but no row says so" in verified(run).findings[0].message


def test_it_stays_found_and_nothing_is_sealed_until_somebody_moves_the_records_away(run: str) -> None:
    pin(run, "checkpoint-300")
    delete(run)

    for _ in range(2):
        report = verified(run)
        assert [item.rule for item in report.findings] == [RULE]
        assert not any(item.sealed for item in report.checkpoints)
    assert rows(run, "seal") == []

    shutil.move(Path(run, ".audit"), Path(run).parent / "old-records")
    report = verified(run)
    assert (report.findings, all(item.sealed for item in report.checkpoints)) == ((), True)


@pytest.mark.parametrize("damage", [cut, delete])
def test_the_guard_says_so_and_strict_refuses(run: str, damage: Callable[[str], None]) -> None:
    pin(run, "checkpoint-300")
    damage(run)

    decision, report = consult(run, options=SETTLED)
    strict, _ = consult(run, Limits(strict=True), SETTLED)

    assert decision.checkpoint == "checkpoint-300"
    assert any("rows are missing" in note and "is not used" in note for note in report.notes)
    assert "rows are missing" in (strict.refusal or "")


def test_a_ledger_that_only_grew_is_no_finding(run: str) -> None:
    for _ in range(2):
        verified(run)
        consult(run, options=SETTLED)
    shutil.rmtree(f"{run}/checkpoint-100")
    verified(run)

    assert outcome(run, RULE).outcome is Outcome.PASS


def test_a_run_without_records_is_no_finding(tmp_path: Path) -> None:
    assert outcome(make_run(tmp_path / "new"), RULE, ledger=False).outcome is Outcome.PASS


@pytest.mark.parametrize("late", ["pin", "scan"])
def test_what_another_process_adds_while_the_ledger_is_read_is_no_finding(
    run: str, late: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(run, (400,), save_steps=100, max_steps=400)
    read = Ledger.rows

    def meanwhile(self: Ledger) -> tuple[Row, ...]:
        found = read(self)
        monkeypatch.setattr(Ledger, "rows", read)
        verified(run)  # seals checkpoint-400 and remembers its scans
        if late == "pin":
            pin(run, "checkpoint-400")
        return found

    monkeypatch.setattr(Ledger, "rows", meanwhile)

    assert read_records(run, write=False)[0].lost is None
