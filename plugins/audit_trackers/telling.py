"""Log what the audit found to every tracker that is open; one that raises is named once and then left alone."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from audit.plugin import BROKEN, AuditError, first_line, veiled
from audit_trackers.reports import found_at, listen, urls_of
from audit_trackers.trackers import Tracker, open_now

LOG = logging.getLogger("audit")


class Telling:
    """One training: :meth:`begin`, :meth:`saved` at each save, :meth:`pushed` at the end. Nothing raises."""

    def __init__(self) -> None:
        self._off: set[str] = set()
        self._told: set[str] = set()
        self._broken = False
        self._callbacks: Sequence[Any] = ()

    def begin(self, run: str, callbacks: Sequence[Any]) -> None:
        """Listen to verifications of a run; uploads of an earlier training are not told again."""
        self._callbacks = callbacks
        listen(run)
        try:
            self._told = set(urls_of(run))
        except (AuditError, OSError):
            self._told = set()

    def saved(self, run: str, checkpoint: str, step: int) -> None:
        """Log what the verification of a save found, and an alert when the run has become broken."""
        try:
            found, report = found_at(run, checkpoint)
        except Exception as error:
            LOG.warning("%s/%s: not logged to a tracker: %s", run, checkpoint, first_line(error))
            return
        broken = found.verdict == BROKEN
        worst = max(report.findings, key=lambda item: item.severity.rank, default=None)
        text = veiled(f"{worst.message} ({worst.rule})") if worst is not None else found.verdict
        alert = broken and not self._broken
        self._broken = broken

        def tell(tracker: Tracker) -> None:
            tracker.numbers(found.numbers, step)
            tracker.verdict(found.verdict if worst is None else f"{found.verdict}: {text}", step)
            if alert:
                tracker.alert(f"checkpoint-{step}: broken", text)

        self._each(tell)
        self.pushed(run)

    def pushed(self, run: str) -> None:
        """Log the addresses of checkpoints that were pushed meanwhile."""
        try:
            new = {id: found for id, found in urls_of(run).items() if id not in self._told}
        except (AuditError, OSError):
            return
        self._told |= new.keys()

        def tell(tracker: Tracker) -> None:
            for step, url in sorted(new.values()):
                tracker.url(url, step)

        if new:
            self._each(tell)

    def _each(self, tell: Callable[[Tracker], None]) -> None:
        try:
            trackers = open_now(self._callbacks)
        except Exception as error:  # a library that has changed
            self._switch_off("a tracker", error)
            return
        for tracker in trackers:
            if tracker.name in self._off:
                continue
            try:
                tell(tracker)
            except Exception as error:
                self._switch_off(tracker.name, error)

    def _switch_off(self, name: str, error: Exception) -> None:
        if name not in self._off:
            self._off.add(name)
            LOG.warning(
                "%s: nothing more is logged to it: %s: %s", name, type(error).__name__, veiled(first_line(error))
            )
