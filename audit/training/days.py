"""What was trained, told once a day if the configuration says to whom (``[notify]``)."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress

from audit.audit_dir import AUDIT_DIR, DAY_TOLD, make, read_small, replaced
from audit.errors import AuditError
from audit.ledger.batches import Batch
from audit.ledger.timeline import Timeline
from audit.text import local_date, unix_time
from audit.training.batch_log import BatchLog
from audit.training.events import DayTrained, Emit

_LENGTH = len("2026-11-21")


class Days:
    """Tells of each day that has ended. The last day that was looked at is kept in ``.audit``, across calls.

    What was trained before the first call that tells of days is not told.
    """

    def __init__(self, run: str, wanted: bool, batch_log: BatchLog, emit: Emit) -> None:
        self._run, self._wanted, self._batch_log, self._emit = run, wanted, batch_log, emit
        self._told: str | None = None

    def due(self, today: str | None = None) -> bool:
        """Whether a new day has begun since the last look."""
        return self._wanted and self._told != (today or local_date())

    def tell(self, today: str | None = None) -> None:
        """Tell of each day before today that was not told of. Raises LedgerError."""
        today = today or local_date()
        if not self.due(today):
            return
        before = self._read()
        if before is not None and before < today:
            for day in days(self._batch_log.timeline(), before, today):
                self._emit(day)
        self._told = today
        if before != today:
            self._write(today)

    def _read(self) -> str | None:
        content = read_small(self._run, DAY_TOLD, _LENGTH)
        if content is None or not content.isascii():
            return None
        text = content.decode("ascii")
        return text if unix_time(f"{text}T00:00:00Z") is not None else None

    def _write(self, day: str) -> None:
        # If it cannot be written, the next call tells the same again: better than a training that ends.
        with suppress(AuditError, OSError):
            make(self._run, AUDIT_DIR, "it is not kept which day was told of")
            with replaced(os.path.join(self._run, DAY_TOLD)) as path, open(path, "x", encoding="ascii") as file:
                file.write(day)


def days(timeline: Timeline, since: str, until: str) -> Iterator[DayTrained]:
    """Yield what was trained to its end on each day from ``since`` on and before ``until``, and still counts."""
    found: dict[str, list[Batch]] = {}
    for batch in timeline.batches:
        seconds = unix_time(batch.ended or "") if batch.trained else None
        if seconds is not None:
            found.setdefault(time.strftime("%Y-%m-%d", time.localtime(seconds)), []).append(batch)
    for day in sorted(found):
        if since <= day < until:
            yield _day(day, found[day])


def _day(day: str, batches: list[Batch]) -> DayTrained:
    counts = [batch.examples for batch in batches]
    losses = [loss for batch in batches for _, loss in batch.losses]
    return DayTrained(
        day=day,
        batches=len(batches),
        examples=None if None in counts else sum(count or 0 for count in counts),
        first_step=min(batch.first_step for batch in batches),
        last_step=max(batch.step for batch in batches),
        first_loss=losses[0] if losses else None,
        last_loss=losses[-1] if losses else None,
    )
