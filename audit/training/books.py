"""The books of a continuous training: the batch rows of the run's ledger."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from audit.batches import Timeline, timeline_of
from audit.errors import AuditError
from audit.records import read_records

if TYPE_CHECKING:
    from audit.ledger import Ledger


class Books:
    """What was trained, by the ledger of ``run``. Everything raises AuditError where that cannot be used."""

    def __init__(self, run: str) -> None:
        self._run = run

    def timeline(self) -> Timeline:
        """Return the batches as the ledger tells them."""
        with self.ledger() as ledger:
            return timeline_of(ledger.rows())

    def rows(self) -> list[Mapping[str, Any]]:
        """Return the contents of all batch rows, in order."""
        with self.ledger() as ledger:
            return [row.content for row in ledger.rows() if row.kind == "batch"]

    def record(self, content: Mapping[str, Any]) -> None:
        """Add a batch row; it is on the disk when this returns."""
        with self.ledger() as ledger:
            ledger.append("batch", content, durable=True)

    def try_to_record(self, content: Mapping[str, Any]) -> str | None:
        """A full disk must not hide the reason of a failure, which is often the full disk."""
        try:
            self.record(content)
        except AuditError as error:
            return str(error)
        return None

    @contextmanager
    def ledger(self) -> Iterator["Ledger"]:
        """Open the run's ledger. Raises AuditError where it cannot be written: it alone knows what was trained."""
        records, ledger = read_records(self._run, True)
        problem = records.unusable or records.edited or records.unwritable
        if ledger is None or problem:
            if ledger is not None:
                ledger.close()
            raise AuditError(f"the ledger cannot be used, and it alone knows which examples were trained: {problem}")
        try:
            yield ledger
        finally:
            ledger.close()
