"""The directory that ``audit fleet -o`` names: the two tables, and beside them what an unfinished pass has done so far.

::

    fleet.parquet/runs.parquet          one row for each run
    fleet.parquet/findings.parquet      one row for each finding
    fleet.parquet/unfinished/           while a pass goes on: plan.json, listing.jsonl, part-00000.parquet, ...
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import Any

from audit.audit_dir import replaced
from audit.backend.names import checkpoint_around
from audit.errors import AuditError
from audit.fleet.rows import Audited
from audit.fleet.tables import Table, read_part, write_part
from audit.fleet.tasks import Batch, Order, Task
from audit.storage import scheme_of

RUNS, FINDINGS, UNFINISHED = "runs.parquet", "findings.parquet", "unfinished"
_LOCK = "lock"
_OURS = {RUNS, FINDINGS, UNFINISHED, _LOCK}
_PART = re.compile(r"part-([0-9]{5,9})\.parquet")


class Store:
    """The files of one fleet."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.table = Table(os.path.join(path, RUNS), os.path.join(path, FINDINGS))
        self._work = os.path.join(path, UNFINISHED)

    def make(self) -> None:
        """Make the directory if it is missing. Raises AuditError if something else has its name."""
        if scheme_of(self.path) is not None:
            raise AuditError(f"{self.path}: the tables are kept on this machine; name a directory")
        if checkpoint_around(os.path.dirname(os.path.realpath(self.path))) is not None:
            raise AuditError(f"{self.path}: is inside a checkpoint, and nothing is written there; choose another place")
        try:
            os.makedirs(self.path, exist_ok=True)
            others = [name for name in os.listdir(self.path) if name not in _OURS and not name.endswith(".tmp")]
        except FileExistsError as error:
            raise AuditError(f"{self.path}: is a file; the tables are kept in a directory, name another") from error
        except OSError as error:
            raise AuditError(f"{self.path}: cannot be made: {error.strerror or error}") from error
        if others:
            raise AuditError(f"{self.path}: has other files in it, such as {min(others)}; name a directory of its own")

    def check(self) -> None:
        """Raise AuditError if there is no such directory of ours."""
        if not os.path.isdir(self.path) or not (self.table.there or os.path.isdir(self._work)):
            raise AuditError(f"{self.path}: is no table of audit fleet; make one with: audit fleet ROOT -o {self.path}")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other passes out. Raises AuditError if one is going on; a file system without locks keeps nobody out."""
        from fcntl import LOCK_EX, LOCK_NB, flock

        path = os.path.join(self.path, _LOCK)
        with open(path, "a", encoding="ascii") as file:
            try:
                flock(file, LOCK_EX | LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                raise AuditError(f"{self.path}: another audit fleet is writing to it; wait for its end") from error
            except OSError:
                pass
            yield

    # -- the pass that is not finished -----------------------------------------------------------------------------

    @property
    def listing(self) -> str:
        """The runs of the pass, a line of JSON for each."""
        return os.path.join(self._work, "listing.jsonl")

    def begin(self) -> None:
        """Make room for a pass."""
        os.makedirs(self._work, exist_ok=True)

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        """Say what the pass is about; from then on it can be worked off."""
        with replaced(self._file("plan.json")) as scratch, open(scratch, "w", encoding="ascii") as file:
            json.dump(plan, file)

    def plan(self) -> dict[str, Any] | None:
        """Return what the pass is about, None if there is none."""
        try:
            with open(self._file("plan.json"), encoding="ascii") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and "id" in found else None

    def lines(self) -> Iterator[dict[str, Any]]:
        """Return the runs of the pass, in order."""
        with open(self.listing, encoding="ascii") as file:
            yield from map(json.loads, file)

    def batches(self, skip: frozenset[int] = frozenset()) -> Iterator[Batch]:
        """Return the batches of the pass, without those of these numbers."""
        planned = (line for line in self.lines() if "batch" in line and line["batch"] not in skip)
        for number, lines in groupby(planned, key=lambda line: line["batch"]):
            yield Batch(number, tuple(Task(*line["task"]) for line in lines))

    def write_shard(self, batch: Batch, order: Order) -> None:
        """Write a batch for a command of its own."""
        path = self._file(f"shard-{batch.number:05}.json")
        with replaced(path) as scratch, open(scratch, "w", encoding="ascii") as file:
            json.dump({"order": order.document(), "batch": batch.document()}, file)

    def shard(self, number: int) -> tuple[Batch, Order]:
        """Read a batch. Raises AuditError if there is none of this number."""
        try:
            with open(self._file(f"shard-{number:05}.json"), encoding="ascii") as file:
                found = json.load(file)
            return Batch.read(found["batch"]), Order.read(found["order"])
        except FileNotFoundError as error:
            raise AuditError(
                f"{self.path}: has no shard {number}; make shards with: audit fleet ROOT --engine list -o {self.path}"
            ) from error
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise AuditError(f"{self.path}: shard {number} cannot be read; make the shards anew") from error

    def write_part(self, number: int, rows: list[Audited], id_: str) -> None:
        """Keep the rows of a batch."""
        write_part(self._file(f"part-{number:05}.parquet"), rows, id_.encode("ascii"))

    def part(self, number: int, id_: str) -> list[Audited] | None:
        """Return the rows of a batch, None if they are not there."""
        return read_part(self._file(f"part-{number:05}.parquet"), id_.encode("ascii"))

    def part_numbers(self) -> list[int]:
        """Return the numbers of the parts that are there, in order."""
        try:
            names = os.listdir(self._work)
        except OSError:
            return []
        return sorted(int(match[1]) for name in names if (match := _PART.fullmatch(name)))

    def clear(self) -> None:
        """Forget the pass: it is finished, or its rows were taken over. Call it with the lock."""
        with suppress(OSError):
            for name in os.listdir(self.path):
                if name.endswith(".tmp"):  # half a table of a pass that was killed
                    os.unlink(os.path.join(self.path, name))
        with suppress(OSError):
            names = os.listdir(self._work)
            # The plan goes last: without it nobody asks for the others.
            for name in sorted(names, key=lambda name: name == "plan.json"):
                os.unlink(os.path.join(self._work, name))
            os.rmdir(self._work)

    def _file(self, name: str) -> str:
        return os.path.join(self._work, name)
