"""A fleet for people: what its page shows, counted in one pass over the table."""

import heapq
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from audit.findings import Severity
from audit.fleet.passes import worst_of
from audit.fleet.rows import AUDITED, FAILED, GONE, UNREAD, RunRow
from audit.fleet.store import Store
from audit.fleet.tables import moment
from audit.page import FleetGroup, FleetRule, FleetRun, FleetView, is_page
from audit.report import BROKEN, SOUND, SUSPECT

SHOWN = 300
"""Runs of each kind that a page shows, and owners."""

PAGES = ("report.html", os.path.join(".audit", "report.html"))
"""Where a run may have a page of its own: ``audit report RUN -o RUN/report.html``."""

DAY = 86_400_000_000
_AGES = (("a day", 1), ("a week", 7), ("a month", 31), ("three months", 92), ("a year", 366))


class _Largest:
    """The first runs in the order of a key; as many as are shown are kept."""

    def __init__(self, key: Callable[[RunRow], int]) -> None:
        self._key = key
        self._rows: list[tuple[int, int, RunRow]] = []
        self._count = 0

    def add(self, row: RunRow) -> None:
        self._count += 1
        item = (self._key(row), -self._count, row)
        if len(self._rows) < SHOWN:
            heapq.heappush(self._rows, item)
        else:
            heapq.heappushpop(self._rows, item)

    def rows(self) -> list[RunRow]:
        return [row for _, _, row in sorted(self._rows, reverse=True)]


class _Groups:
    def __init__(self) -> None:
        self.found: dict[str, FleetGroup] = {}

    def add(self, name: str, row: RunRow) -> None:
        self.found[name] = _with(self.found.get(name) or FleetGroup(name), row)


class _Rule(NamedTuple):
    severity: str
    runs: int
    findings: int
    example: str
    last: str


def view_of(store: Store, output: str | None = None, now: int | None = None) -> FleetView:
    """Return what the page of a fleet shows; links are relative to ``output``. Raises AuditError."""
    store.check()
    about = json.loads(store.table.about())
    now = time.time_ns() // 1000 if now is None else now
    total, ages, owners = FleetGroup("all"), _Groups(), _Groups()
    verdicts = {SOUND: 0, SUSPECT: 0, BROKEN: 0}
    statuses = {AUDITED: 0, FAILED: 0, UNREAD: 0, GONE: 0}
    depths: dict[str, int] = {}
    crashed: set[str] = set()
    worst: list[RunRow] = []
    unaudited = _Largest(lambda row: row.status == FAILED)
    freed = _Largest(lambda row: row.bytes_not_resumable + row.bytes_superseded)
    for row in store.table.rows():
        total = _with(total, row)
        owners.add(row.owner, row)
        ages.add(_age(row, now), row)
        statuses[row.status] = statuses.get(row.status, 0) + 1
        crashed.update(row.crashed)
        if row.status != AUDITED:
            unaudited.add(row)
            continue
        verdicts[row.verdict or SOUND] += 1
        depths[row.depth or ""] = depths.get(row.depth or "", 0) + 1
        if row.errors or row.warnings:
            worst.append(row)
            if len(worst) > 4 * SHOWN:
                worst = worst_of(worst, SHOWN)
        if row.bytes_not_resumable + row.bytes_superseded:
            freed.add(row)
    home = os.path.dirname(os.path.abspath(output)) if output else None
    order = [*(f"within {name}" for name, _ in _AGES), "older", "unknown"]

    def shown(rows: list[RunRow]) -> tuple[FleetRun, ...]:
        return tuple(_shown(row, home) for row in rows)

    return FleetView(
        table=store.path,
        made=str(about.get("made", "")),
        version=str(about.get("version", "")),
        total=total,
        verdicts=verdicts,
        statuses=statuses,
        depths=depths,
        crashed=tuple(sorted(crashed)),
        worst=shown(worst_of(worst, SHOWN)),
        unaudited=shown(unaudited.rows()),
        rules=tuple(_rules(store)),
        ages=tuple(ages.found[name] for name in order if name in ages.found),
        owners=tuple(heapq.nlargest(SHOWN, owners.found.values(), key=lambda group: (group.broken, group.bytes))),
        freed=shown(freed.rows()),
    )


def _with(group: FleetGroup, row: RunRow) -> FleetGroup:
    return FleetGroup(
        group.name,
        group.runs + 1,
        group.broken + (row.verdict == BROKEN),
        group.suspect + (row.verdict == SUSPECT),
        group.unaudited + (row.status != AUDITED),
        group.bytes + row.bytes,
        group.bytes_not_resumable + row.bytes_not_resumable,
        group.bytes_superseded + row.bytes_superseded,
    )


def _age(row: RunRow, now: int) -> str:
    if row.saved is None:
        return "unknown"
    days = (now - row.saved) / DAY
    return next((f"within {name}" for name, most in _AGES if days <= most), "older")


def _rules(store: Store) -> Iterator[FleetRule]:
    found: dict[str, _Rule] = {}
    for item in store.table.findings_rows():
        if item.accepted is not None:
            continue
        old = found.get(item.rule) or _Rule(item.severity, 0, 0, item.run, "")
        severity = max(old.severity, item.severity, key=_rank)
        found[item.rule] = _Rule(severity, old.runs + (old.last != item.run), old.findings + 1, old.example, item.run)
    ranked = sorted(found.items(), key=lambda item: (-_rank(item[1].severity), -item[1].runs))
    return (FleetRule(name, rule.severity, rule.runs, rule.findings, rule.example) for name, rule in ranked)


def _rank(severity: str) -> int:
    return Severity(severity).rank


def _shown(row: RunRow, home: str | None) -> FleetRun:
    same = {name: value for name, value in row._asdict().items() if name in FleetRun._fields and name != "saved"}
    return FleetRun(**same, saved=moment(row.saved), page=_page(row.run, home))


def _page(run: str, home: str | None) -> str | None:
    """The link to the page of a run, None if there is none."""
    from urllib.parse import quote

    for name in PAGES:
        path = os.path.join(run, name)
        if is_page(path):
            return quote(path if home is None else os.path.join(".", os.path.relpath(path, home)))
    return None
