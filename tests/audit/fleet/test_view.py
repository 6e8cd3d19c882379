"""What the page of a fleet shows, counted from the table."""

import json
import os
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="the extra fleet is not installed")

from audit.errors import AuditError
from audit.fleet import view
from audit.fleet.rows import Audited, FindingRow, RunRow
from audit.fleet.store import Store
from audit.fleet.tables import write_tables
from audit.fleet.view import DAY, view_of

NOW = 20_000 * DAY


def run(name: str, owner: str, **changes: object) -> Audited:
    fields: dict[str, object] = {"verdict": "sound", "resume_from": "checkpoint-1", "depth": "quick", **changes}
    row = RunRow(f"/r/{owner}/{name}", "/r", owner, "audited")._replace(**fields)  # type: ignore[arg-type]
    return Audited(row)


def finding(item: Audited, rule: str, severity: str = "error", accepted: str | None = None) -> Audited:
    made = FindingRow(item.row.run, None, None, None, rule, severity, "m", None, None, "r", False, accepted)
    return item._replace(findings=(*item.findings, made))


@pytest.fixture
def filled(store: Store) -> Store:
    bad = run("bad", "ann", verdict="broken", errors=2, rules=("a/b",), resume_from=None, bytes=10, saved=NOW - DAY // 2,
              bytes_not_resumable=7)  # fmt: skip
    doubted = run("doubted", "bob", verdict="suspect", warnings=1, rules=("c/d",), bytes=5, saved=NOW - 400 * DAY)
    rows = [
        finding(finding(bad, "a/b"), "a/b"),
        run("good", "ann", bytes=20, bytes_superseded=9, saved=NOW - 3 * DAY, depth="full"),
        finding(finding(doubted, "c/d", "warning"), "a/b", accepted="known"),
        run("lost", "bob", verdict=None, status="failed", error="no reason"),
        run("other", "bob", verdict=None, status="unread", error="Megatron"),
    ]
    store.make()
    write_tables(*store.table, rows, json.dumps({"pass": 1, "made": "2026-11-27T00:00:00Z", "version": "1"}).encode())
    return store


def test_runs_are_counted_by_verdict_owner_age_and_rule(filled: Store) -> None:
    found = view_of(filled, now=NOW)

    assert found.verdicts == {"sound": 1, "suspect": 1, "broken": 1}
    assert found.statuses == {"audited": 3, "failed": 1, "unread": 1, "gone": 0}
    assert (found.total.runs, found.total.unaudited, found.total.bytes) == (5, 2, 35)
    assert found.depths == {"quick": 2, "full": 1}
    assert [(group.name, group.runs, group.broken) for group in found.owners] == [("ann", 2, 1), ("bob", 3, 0)]
    assert [(group.name, group.runs) for group in found.ages] == [
        ("within a day", 1), ("within a week", 1), ("older", 1), ("unknown", 2)
    ]  # fmt: skip
    assert [(rule.rule, rule.severity, rule.runs, rule.findings) for rule in found.rules] == [
        ("a/b", "error", 1, 2), ("c/d", "warning", 1, 1)
    ]  # fmt: skip


def test_the_worst_and_the_largest_come_first(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    found = view_of(filled, now=NOW)
    assert [os.path.basename(item.run) for item in found.worst] == ["bad", "doubted"]
    assert [os.path.basename(item.run) for item in found.freed] == ["good", "bad"]
    assert [item.error for item in found.unaudited] == ["no reason", "Megatron"]
    monkeypatch.setattr(view, "SHOWN", 1)
    few = view_of(filled, now=NOW)
    assert [os.path.basename(item.run) for item in (*few.worst, *few.freed)] == ["bad", "good"]
    assert few.total.runs == 5


def test_a_run_with_a_page_of_its_own_has_a_link_to_it(store: Store, tmp_path: Path) -> None:
    place = tmp_path / "a: b"
    place.mkdir()
    (place / "report.html").write_text("<title>x - checkpoint audit</title>")
    other = tmp_path / "other"
    other.mkdir()
    (other / "report.html").write_text("<title>of somebody else</title>")
    rows = [Audited(RunRow(str(path), str(tmp_path), "o", "audited", "broken", errors=1)) for path in (place, other)]
    store.make()
    write_tables(*store.table, rows, b'{"pass": 1}')

    with_page, without = view_of(store, str(tmp_path / "pages" / "fleet.html")).worst
    assert with_page.page == "./../a%3A%20b/report.html"
    assert without.page is None
    assert str(view_of(store).worst[0].page) == str(place / "report.html").replace(": ", "%3A%20")


def test_what_is_no_table_is_said(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="is no table of audit fleet"):
        view_of(Store(str(tmp_path)))
