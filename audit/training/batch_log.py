"""What a continuous training records: the batch rows of the run's ledger."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from audit.audit_dir import RESERVE
from audit.errors import AuditError
from audit.ledger.batch_events import BatchEvent
from audit.ledger.timeline import Timeline
from audit.ledger.timeline_rows import timeline_of

if TYPE_CHECKING:
    from audit.ledger.store import Ledger, Row

ROOM = 128 << 10
"""Bytes that a ledger needs to be opened for writing, its write-ahead log included."""

UNUSABLE = "the ledger cannot be used, and only it records which examples were trained"


class BatchLog:
    """What was trained, by the ledger of ``run``. Everything raises LedgerError if that cannot be used.

    Reading needs no room. For the last words on a full disk there is a reserve: a file that is then deleted.
    """

    def __init__(self, run: str) -> None:
        self._run = run

    def timeline(self) -> Timeline:
        """Return the batches that the ledger records."""
        return timeline_of(self.rows())

    def events(self) -> list[BatchEvent]:
        """Return what all batch rows record, in order."""
        return [row.event for row in self.rows() if isinstance(row.event, BatchEvent)]

    def rows(self) -> "tuple[Row, ...]":
        """Return all rows of the ledger."""
        from audit.ledger.store import LedgerError, open_ledger

        ledger = None
        try:
            ledger = open_ledger(self._run, False) if os.path.isdir(self._run) else None
            return ledger.rows() if ledger is not None else ()
        except LedgerError as error:
            raise LedgerError(f"{UNUSABLE}: {error}") from error
        finally:
            if ledger is not None:
                ledger.close()

    def name(self) -> str:
        """Return a name of the run: that of its directory, and what no other run's ledger has; "" without a ledger."""
        from blake3 import blake3

        for first in self.rows()[:1]:
            unlike = blake3(f"{first.time} {first.kind} {json.dumps(first.content)}".encode()).hexdigest()[:8]
            return f"{os.path.basename(os.path.realpath(self._run))}-{unlike}"
        return ""

    def record(self, event: BatchEvent) -> None:
        """Add a batch row; it is on the disk when this returns."""
        with self.ledger() as ledger:
            ledger.append(event, durable=True)

    def try_to_record(self, event: BatchEvent) -> str | None:
        """Record why training failed; return why that cannot be recorded. The reason may be the full disk itself."""
        try:
            self.record(event)
        except AuditError as error:
            try:
                os.unlink(os.path.join(self._run, RESERVE))
                self.record(event)
            except (AuditError, OSError):
                return str(error)
        return None

    def hold_reserve(self) -> None:
        """Make the reserve, if there is room."""
        path = os.path.join(self._run, RESERVE)
        if os.path.lexists(path) or shutil.disk_usage(self._run).free < 4 * ROOM:
            return
        try:
            with open(path, "xb") as file:
                file.write(os.urandom(ROOM))  # zeros may take no room at all
        except OSError:
            with suppress(OSError):
                os.unlink(path)

    @contextmanager
    def ledger(self) -> Iterator["Ledger"]:
        """Open the run's ledger for writing. Raises LedgerError."""
        from audit.ledger.store import LedgerError, LedgerUnwritableError, open_ledger

        problem, writable, ledger = f"{self._run}: is not a directory", True, None
        try:
            ledger = open_ledger(self._run, True) if os.path.isdir(self._run) else None
            if ledger is not None:
                ledger.rows()  # nothing is added to a history that was edited
                problem, writable = f"{ledger.path}: cannot be written", ledger.writable
        except LedgerError as error:
            problem, writable = str(error), not isinstance(error, LedgerUnwritableError)
            if ledger is not None:
                ledger.close()
            ledger = None
        if ledger is None or not writable:
            if ledger is not None:
                ledger.close()
            full = not writable and shutil.disk_usage(self._run).free < ROOM
            raise LedgerError(f"{UNUSABLE}: {problem}{': the disk is full' if full else ''}")
        try:
            yield ledger
        finally:
            ledger.close()
