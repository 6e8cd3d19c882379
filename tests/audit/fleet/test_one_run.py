"""The row of one run: what verify says of it, or why nothing can be said."""

import os
import shutil
from pathlib import Path

import pytest

from audit.api import verify
from audit.findings import Severity
from audit.fleet.one_run import audit_run
from audit.fleet.rows import AUDITED, FAILED, GONE, MOST_FINDINGS, Audited
from audit.fleet.tasks import Order, Task
from audit.manager import load
from audit.options import Options
from audit.testing.runs import edit_state, make_run
from tests.audit.fleet.conftest import Grow, age

TOKEN = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH"


def row_of(run: str, depth: str = "full", root: str | None = None) -> Audited:
    task = Task(run, root or os.path.dirname(run), "owner", depth, False, "digest", 5, 10_000, True, 1)
    return audit_run(task, Order(Options(), "basis"), load())


def test_the_row_says_what_verify_says_and_nothing_is_recorded(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", layers=1)
    (Path(run) / "checkpoint-300/optimizer.pt").unlink()
    age(run)

    row, findings = row_of(run)

    assert not (Path(run) / ".audit").exists()
    report = verify(run, Options(ledger=False))
    assert (row.status, row.verdict, row.resume_from) == (AUDITED, report.verdict, report.resume_from)
    assert (row.errors, row.checkpoints, row.resumable, row.newest_step) == (1, 3, 2, 300)
    assert row.rules == ("files/missing-optimizer",)
    assert (row.bytes, row.files, row.depth) == (sum(item.bytes for item in report.checkpoints), report.files, "full")
    (finding,) = (item for item in report.findings if item.severity is Severity.ERROR)
    assert [(item.rule, item.message, item.remedy) for item in findings if item.severity == "error"] == [
        (finding.rule, finding.message, finding.remedy)
    ]


def test_bytes_that_could_be_freed_are_of_broken_and_of_older_checkpoints_but_not_the_best(tmp_path: Path) -> None:
    run = Path(make_run(tmp_path / "run", (100, 200, 300, 400), layers=1, best=True))
    for step in (300, 400):
        edit_state(run / f"checkpoint-{step}", best_model_checkpoint=str(run / "checkpoint-100"), best_global_step=100)
    (run / "checkpoint-400/optimizer.pt").unlink()
    age(run)

    row, _ = row_of(str(run))

    sizes = {item.name: item.bytes for item in verify(run, Options(ledger=False)).checkpoints}
    assert row.resume_from == "checkpoint-300"
    assert row.bytes_not_resumable == sizes["checkpoint-400"]
    assert row.bytes_superseded == sizes["checkpoint-200"]


def test_a_sound_run_of_one_checkpoint_has_nothing_to_free(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100,), layers=1)
    age(run)
    row, findings = row_of(run)
    assert (row.verdict, row.bytes_not_resumable, row.bytes_superseded, row.rules) == ("sound", 0, 0, ())
    assert [item for item in findings if item.severity != "info"] == []


def test_a_run_that_is_gone_or_has_lost_its_checkpoints_has_a_row(tmp_path: Path, grow: Grow) -> None:
    run, other = grow("run", "other")
    shutil.rmtree(run)
    for name in ("checkpoint-1", "checkpoint-2"):
        shutil.rmtree(f"{other}/{name}")

    gone, empty = row_of(run).row, row_of(other).row

    assert (gone.status, gone.verdict) == (GONE, None)
    assert "deleted" in str(gone.error)
    assert (empty.status, empty.verdict) == (FAILED, None)
    assert "no checkpoint" in str(empty.error)


def test_a_link_that_takes_the_place_of_a_run_is_not_followed(tmp_path: Path, tree: Path, grow: Grow) -> None:
    (run,) = grow("a/run")
    os.rename(run, tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", run)

    row = row_of(run, root=str(tree)).row

    assert (row.status, row.checkpoints) == (FAILED, 0)
    assert "link" in str(row.error)


def test_a_bug_in_a_rule_or_a_reader_is_of_this_run_alone(grow: Grow, monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = grow("run")

    def broken(*_: object, **__: object) -> object:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("audit.judging.verification.verify_run", broken)
    row = row_of(run).row
    assert (row.status, row.error) == (
        FAILED,
        "internal error, please report it: ZeroDivisionError: a bug",
    )


def test_no_row_holds_a_token_and_their_number_is_limited(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200), layers=1)
    edit_state(f"{run}/checkpoint-200", global_step=TOKEN, best_model_checkpoint=TOKEN, max_steps=TOKEN)
    found = row_of(run)
    assert found.findings
    assert len(found.findings) <= MOST_FINDINGS
    assert TOKEN not in str(found)
