"""A leg that failed for a reason that may pass is tried again after a while, before the call gives up."""

import time

from audit.backend.training import LegFailed, LegResult
from audit.errors import AuditError
from audit.training.drafting import Work
from audit.training.events import Emit, LegRetried
from audit.training.notify_config import Retry

TRANSIENT = frozenset({"killed", "out-of-memory"})
"""Kinds of failures that another program on the machine may have caused, see LegFailed."""
LONGEST = 3600.0
"""Seconds between two tries, at most."""


class Retries:
    """Counts the failures of one call: those in a row of legs that began at the same step of the same batch."""

    def __init__(self, retry: Retry, emit: Emit) -> None:
        self._retry, self._emit = retry, emit
        self._at: tuple[str, int] | None = None
        self._failed = 0

    def again(self, work: Work, outcome: LegResult | AuditError) -> bool:
        """Wait, and return whether a leg that was refused is to be tried again. A signal ends the waiting."""
        if not isinstance(outcome, LegFailed) or outcome.kind not in TRANSIENT or outcome.stopped_by is not None:
            return False
        at = work.batch, work.request.first_step
        self._failed = self._failed + 1 if at == self._at else 1
        self._at = at
        if self._failed > self._retry.times:
            return False
        seconds = min(self._retry.wait_seconds * 2.0 ** min(self._failed - 1, 30), LONGEST)
        self._emit(LegRetried(work.file.name, at[1], outcome.kind, self._failed, self._retry.times, seconds))
        time.sleep(seconds)
        return True
