"""List the roots, compare with the rows that are there, and write down what has to be audited."""

import json
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from audit.backend.protocol import Backend
from audit.fleet.discovery import Found, find_runs
from audit.fleet.rows import AUDITED, Audited, InOrder, RunRow, shown
from audit.fleet.store import Store
from audit.fleet.tasks import BYTES_A_SECOND, Order, Task
from audit.report import BROKEN
from audit.storage import LocalStorage, Storage
from audit.version import __version__

BATCH = 25
"""Runs in one batch, by default."""

BATCH_BYTES = 10 * BYTES_A_SECOND
"""A batch with more bytes to read has no further run in it."""

Listed = Callable[[int], None]
"""Hears how many runs were listed so far."""


class Choice(NamedTuple):
    """Which runs are audited and how deep.

    ``share`` of all runs, 0 to 1, is read in full, another one in each pass. ``budget``: bytes of runs that are read in
    full in one pass, None: as many as there are; runs beyond it are judged at quick depth. A run that was broken when
    it was last read in full is read in full again if it changed, whatever is chosen. ``anew``: no row is taken over.
    ``batch``: runs in one batch.
    """

    depth: str = "quick"
    share: float = 0.0
    budget: int | None = None
    anew: bool = False
    batch: int = BATCH


class Planned(NamedTuple):
    """What a pass has to do: runs, how many of them are audited, in how many batches, and how many rows are ``taken``.

    ``curbed`` are those that the budget left at quick depth.
    """

    runs: int = 0
    audited: int = 0
    batches: int = 0
    taken: int = 0
    curbed: int = 0


def plan(
    store: Store,
    roots: Sequence[str],
    backends: Sequence[Backend],
    judging: Order,
    choice: Choice,
    number: int,
    listed: Listed | None = None,
    opened: Callable[[str], Storage] = LocalStorage,
) -> Planned:
    """Write the listing of a pass: of each run its batch, or that its row is taken over. Raises AuditError."""
    planner = _Planner(store, judging, choice, number)
    runs = 0
    with open(store.listing, "w", encoding="ascii") as file:
        for found in find_runs(roots, backends, opened):
            runs += 1
            json.dump(planner.line(found), file, separators=(",", ":"))
            file.write("\n")
            if listed is not None and runs % 50 == 0:
                listed(runs)
    return Planned(runs, planner.audited, planner.batches, planner.taken, planner.curbed)


class _Planner:
    def __init__(self, store: Store, judging: Order, choice: Choice, number: int) -> None:
        self._known = InOrder(store.table.rows() if store.table.there else iter(()), lambda row: row.run)
        self._order = judging
        self._choice = choice
        self._number = number
        self._now_ns = time.time_ns()
        self._left = choice.budget
        self._size = self._bytes = 0
        self.audited = self.batches = self.taken = self.curbed = 0

    def line(self, found: Found) -> dict[str, object]:
        """Return the line of a run."""
        if found.status:
            return {"run": found.path, "row": _unaudited(found, self._number).document()}
        row = self._known.find(shown(found.path))
        held = row is not None and not self._choice.anew and self._holds(row, found)
        # What every byte has shown is not taken back by a look at the structure.
        blamed = row is not None and row.depth == "full" and row.verdict == BROKEN
        forced = self._is_due(found.path) and not (held and row is not None and row.number == self._number)
        depth = "full" if forced or blamed or self._choice.depth == "full" else "quick"
        if held and row is not None and not forced and (row.depth == "full" or depth == "quick"):
            return self._take(found)
        if depth == "full" and not blamed and not self._afforded(found.bytes):
            self.curbed += 1
            depth = "quick"
            if held:
                return self._take(found)
        self.audited += 1
        reread = depth == "full" and (forced or not self._order.options.cache)
        task = Task(
            found.path,
            found.root,
            found.owner,
            depth,
            reread,
            found.digest,
            found.bytes,
            found.newest_ns,
            0 < found.newest_ns <= self._now_ns - int(self._order.options.settle_seconds * 1e9),
            self._number,
        )
        return {"run": found.path, "batch": self._batch(task), "task": list(task)}

    def _take(self, found: Found) -> dict[str, object]:
        self.taken += 1
        return {"run": found.path, "taken": True}

    def _holds(self, row: RunRow, found: Found) -> bool:
        same = (row.status, row.listing, row.basis) == (AUDITED, found.digest, self._order.basis)
        return same and row.settled

    def _is_due(self, path: str) -> bool:
        """Whether it is the turn of a run to be read in full: each has its place in a circle of passes."""
        if not self._choice.share:
            return False
        from blake3 import blake3

        passes = max(1, int(1 / self._choice.share))
        place = int.from_bytes(blake3(path.encode("utf-8", "surrogateescape")).digest(8), "little")
        return place % passes == self._number % passes

    def _afforded(self, size: int) -> bool:
        if self._left is None:
            return True
        if size > self._left:
            return False
        self._left -= size
        return True

    def _batch(self, task: Task) -> int:
        size = task.bytes if task.depth == "full" else 0
        full = self._size >= self._choice.batch or self._bytes + size > BATCH_BYTES
        if not self.batches or (self._size and full):
            self.batches += 1
            self._size = self._bytes = 0
        self._size += 1
        self._bytes += size
        return self.batches - 1


def _unaudited(found: Found, number: int) -> Audited:
    row = RunRow(
        shown(found.path),
        shown(found.root),
        shown(found.owner),
        found.status,
        error=shown(found.error),
        version=__version__,
        number=number,
        audited=time.time_ns() // 1000,
    )
    return Audited(row)
