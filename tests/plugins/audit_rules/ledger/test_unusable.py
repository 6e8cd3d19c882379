import os
import shutil
from pathlib import Path

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import make_run
from tests.audit.seals import execute, verified

RULE = "ledger/unusable"


@pytest.fixture
def run(tmp_path: Path) -> str:
    path = make_run(tmp_path / "run")
    verified(path)
    return path


def test_a_damaged_ledger_is_a_warning_and_the_run_is_judged_all_the_same(run: str) -> None:
    Path(run, ".audit", "ledger.db").write_bytes(b"no database")

    report = verified(run)

    assert [(item.rule, item.severity, item.checkpoint) for item in report.findings] == [(RULE, Severity.WARNING, None)]
    assert report.findings[0].file == ".audit/ledger.db"
    assert report.resume_from == "checkpoint-300"
    assert {item.sealed for item in report.checkpoints} == {False}


def test_a_ledger_of_a_newer_version_is_named_so(run: str) -> None:
    execute(run, "PRAGMA user_version = 7")

    (finding,) = check(run, RULE)

    assert "has version 7, but this audit reads only version 1; upgrade checkpoint-audit" in finding.message


def test_a_link_in_its_place_is_not_followed(run: str, tmp_path: Path) -> None:
    os.rename(f"{run}/.audit", tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", f"{run}/.audit")

    (finding,) = check(run, RULE)

    assert "so it is not used" in finding.message


def test_a_sound_ledger_or_none_is_no_finding(run: str) -> None:
    assert outcome(run, RULE).outcome is Outcome.PASS
    shutil.rmtree(f"{run}/.audit")
    assert outcome(run, RULE, ledger=False).outcome is Outcome.PASS


def test_moving_it_away_begins_a_new_one(run: str) -> None:
    Path(run, ".audit", "ledger.db").write_bytes(b"no database")
    assert check(run, RULE)

    os.rename(f"{run}/.audit/ledger.db", f"{run}/.audit/old.db")

    assert check(run, RULE) == []
    assert {item.sealed for item in verified(run).checkpoints} == {True}
