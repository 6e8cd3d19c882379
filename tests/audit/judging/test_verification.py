"""To verify is to judge, to record what was seen, and to seal what was proven."""

import shutil
from pathlib import Path

import pytest

from audit.api import verify
from audit.errors import AuditError
from audit.judging.guard import consult
from audit.judging.verification import verify_run
from audit.options import Options
from audit.retention.pins import pin
from audit.testing.runs import make_run
from tests.audit.seals import rows

SETTLED = Options(settle_seconds=0)


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def test_what_was_seen_is_recorded_and_what_was_proven_is_sealed(run: str) -> None:
    found = verify_run(run, SETTLED)

    assert [item.sealed for item in found.report.checkpoints] == [True, True, True]
    assert len(rows(run, "observation")) == 1
    assert [row["checkpoint"] for row in rows(run, "seal")] == [item.name for item in found.run.checkpoints]


def test_a_few_selected_rules_prove_nothing(run: str) -> None:
    report = verify_run(run, SETTLED._replace(select=("steps",))).report

    assert not any(item.sealed for item in report.checkpoints)
    assert (len(rows(run, "observation")), rows(run, "seal")) == (1, [])


def test_without_the_ledger_nothing_is_written(run: str) -> None:
    verify_run(run, SETTLED._replace(ledger=False))

    assert not Path(run, ".audit").exists()


def test_a_run_that_lost_all_its_checkpoints_is_judged_by_its_records(run: str, tmp_path: Path) -> None:
    verify_run(run, SETTLED)
    for step in (100, 200, 300):
        shutil.rmtree(f"{run}/checkpoint-{step}")

    assert {item.rule for item in verify_run(run, SETTLED).report.findings} == {"steps/reset"}
    (tmp_path / "new").mkdir()
    with pytest.raises(AuditError, match="if nothing was trained here yet, say so with --allow-empty"):
        verify_run(str(tmp_path / "new"), SETTLED)


def test_a_pin_that_the_guard_would_prefer_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    verify(run)
    pin(run, "checkpoint-300")
    assert verify(run).notes == ()
    Path(run, "checkpoint-300", "optimizer.pt").unlink()

    report = verify(run)

    assert report.resume_from == "checkpoint-200"
    assert report.pinned == "checkpoint-300"
    assert report.resume_in_words == "Resume from the pinned copy of checkpoint-300 (newer than checkpoint-200)."
    (note,) = report.notes
    assert note.startswith(f"audit guard hands out checkpoint-300 from {run}/.audit/pinned/")
    decision = consult(run).decision
    assert decision.checkpoint == ".audit/pinned/checkpoint-300"
    assert verify(f"{run}/checkpoint-200").notes == ()


def test_a_pin_that_is_broken_too_is_not_offered(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    verify(run)
    pin(run, "checkpoint-300")
    Path(run, "checkpoint-300", "optimizer.pt").unlink()
    Path(run, ".audit", "pinned", "checkpoint-300", "optimizer.pt").unlink()

    report = verify(run)

    assert report.pinned is None
    assert report.resume_in_words == "Resume from checkpoint-200."
    assert report.notes == ("checkpoint-300 has a pinned copy, which cannot be resumed from either",)
    assert consult(run).decision.checkpoint == "checkpoint-200"
