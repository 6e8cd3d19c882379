"""A run as somebody who watches it sees it now: what changed is cheap to ask, and only then it is judged again.

Saves are judged as everywhere: one that its trainer is at work on is "in progress" (:mod:`audit.facts.completeness`),
and what moved while it was judged is judged anew or set aside (:mod:`audit.judging.at_rest`). Nothing is recorded.
"""

import os
import time
from typing import NamedTuple

from audit.audit_dir import LEDGER
from audit.errors import AuditError
from audit.facts.completeness import CheckpointState
from audit.facts.space import free_at
from audit.manager import Registry
from audit.options import Options
from audit.report import Report, in_words
from audit.views.inspection import inspect
from audit.views.summary import Overview

MOVING = frozenset(state.value for state in CheckpointState if state.moving)
SHARE = 10
"""While a checkpoint is being written, the run is judged again after so many times what the last judgement took."""
MOST_EVENTS = 200

Stamp = tuple[tuple[str, int, int, int], ...]


class View(NamedTuple):
    """``rows``, the oldest first, and the ``report`` they rest on; ``problem``: why there are none."""

    rows: tuple[Overview, ...]
    report: Report | None
    problem: str | None
    max_steps: int | None = None


class Event(NamedTuple):
    """What became of a checkpoint, and when it was seen: Unix seconds."""

    time: float
    text: str


class Watched:
    """One run that is looked at again and again; it need not exist yet."""

    def __init__(self, path: str, options: Options, registry: Registry) -> None:
        self.path = path
        self.view = View((), None, None)
        self.events: list[Event] = []
        self._options, self._registry = options, registry
        self._stamp: Stamp | None = None
        self._again = 0.0
        self._first = True

    def refresh(self) -> bool:
        """Judge the run again if anything of it changed, or a save may have ended; return whether it was judged."""
        stamp = stamp_of(self.path)
        moving = any(row.state in MOVING for row in self.view.rows)
        begun = time.monotonic()
        if not self._first and stamp == self._stamp and not (moving and begun >= self._again):
            return False
        self._stamp = stamp
        before, self.view = self.view, _look(self.path, self._options, self._registry)
        self._again = time.monotonic() + SHARE * (time.monotonic() - begun)
        if not self._first:
            self.events += [Event(time.time(), text) for text in changes(before.rows, self.view.rows)]
            del self.events[:-MOST_EVENTS]
        self._first = False
        return True

    @property
    def free(self) -> int | None:
        """Bytes that are free on the volume of the run, None if that cannot be asked."""
        try:
            return free_at(self.path).bytes
        except AuditError:
            return None


def stamp_of(path: str) -> Stamp | None:
    """Return what changes when a checkpoint comes, goes or is written to, or the ledger; None if there is no run.

    Two calls of the operating system for each entry of the run, whatever is in it: a trainer adds files to the
    directory, and fills the one last that ends a save.
    """
    found = []
    try:
        names = sorted(os.listdir(path))  # whatever a trainer calls its checkpoints
    except OSError:
        return None
    for name in (*names, *(os.path.join(name, "trainer_state.json") for name in names), LEDGER, f"{LEDGER}-wal"):
        try:
            about = os.lstat(os.path.join(path, name))
        except OSError:
            continue
        found.append((name, about.st_ino, about.st_mtime_ns, about.st_size))
    return tuple(found)


def changes(before: tuple[Overview, ...], after: tuple[Overview, ...]) -> list[str]:
    """Say in a line each what became of checkpoints between two looks."""
    old, new = ({row.name: row for row in rows} for rows in (before, after))
    found = [f"{name}: deleted" for name in old if name not in new]
    for name, row in new.items():
        why = f" ({row.reason})" if row.reason and row.state not in MOVING else ""
        if name not in old:
            found.append(f"{name}: {_said(row)}{why}")
        elif _said(old[name]) != _said(row):
            found.append(f"{name}: {_said(old[name])} -> {_said(row)}{why}")
    return found


def _said(row: Overview) -> str:
    return in_words(row.state, row.by_structure)


def _look(path: str, options: Options, registry: Registry) -> View:
    if not os.path.lexists(path):
        return View((), None, f"there is no directory {os.path.abspath(path)} yet")
    try:
        found = inspect(path, options, registry=registry)
    except AuditError as error:
        return View((), None, str(error))
    state = found.run.judged[-1].optional("state")
    limit = state.max_steps if state is not None and state.max_steps and state.max_steps > 0 else None
    return View(tuple(found.overview(item) for item in found.run.judged), found.report, None, limit)
