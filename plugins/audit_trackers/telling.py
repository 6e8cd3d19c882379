"""Log what the audit found to every tracker that is open; one that raises is named once and then left alone."""

import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from audit.plugin import (
    BROKEN,
    AuditError,
    Judged,
    asking_tracker,
    checkpoint_name,
    first_line,
    veiled,
    within,
)
from audit_trackers.reports import found_at, listen, numbers_of, urls_of
from audit_trackers.trackers import Tracker, open_now

LOG = logging.getLogger("audit")


class Telling:
    """One training: :meth:`begin`, :meth:`saved` at each save, :meth:`pushed` at the end. Nothing raises.

    Why a tracker is switched off is logged to the logger "audit".
    """

    def __init__(self, seconds: float | None = None) -> None:
        """``seconds``: how long each tracker may take for one save; None if whoever calls has a limit."""
        self._seconds = seconds
        self._say: Callable[[str, str], None] = _log
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

    def go_on(self, callbacks: Sequence[Any], without: Collection[str], say: Callable[[str, str], None]) -> None:
        """Log to the trackers that are open now, but not to some; ``say`` is told why one is switched off."""
        self._callbacks, self._say = callbacks, say
        self._off |= {*without}

    def saved(self, run: str, step: int) -> None:
        """Log what the verification of a save found, and an alert when the run has become broken."""
        try:
            judged = found_at(run, step)
        except Exception as error:
            LOG.warning("%s/%s: not logged to a tracker: %s", run, checkpoint_name(step), first_line(error))
            return
        self.judged(judged)
        self.pushed(run)

    def judged(self, judged: Judged) -> None:
        """Log what a verification found, and an alert when the run has become broken."""
        broken = judged.verdict == BROKEN
        alert = broken and not self._broken
        self._broken = broken

        def tell(tracker: Tracker) -> None:
            tracker.numbers(numbers_of(judged), judged.step)
            tracker.verdict(f"{judged.verdict}: {judged.worst}" if judged.worst else judged.verdict, judged.step)
            if alert:
                tracker.alert(f"{checkpoint_name(judged.step)}: broken", judged.worst or judged.verdict)

        self._each(tell)

    def pushed(self, run: str, since: str = "") -> None:
        """Log the addresses of checkpoints that were pushed meanwhile."""
        try:
            new = {id: found for id, found in urls_of(run, since).items() if id not in self._told}
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
                with asking_tracker(tracker.name):
                    if self._seconds is None:
                        tell(tracker)
                    else:
                        within(self._seconds, partial(tell, tracker))
            except Exception as error:
                self._switch_off(tracker.name, error)

    def _switch_off(self, name: str, error: Exception) -> None:
        if name not in self._off:
            self._off.add(name)
            self._say(name, f"{type(error).__name__}: {veiled(first_line(error))}")


_TELLING: dict[str, Telling] = {}
"""For each run that this process has trained legs of: an alert is given once, an address told once."""


def log_judged(
    run: str, judged: Sequence[Judged], since: str, writers: Sequence[Any], without: Collection[str]
) -> dict[str, str]:
    """Log what was found after legs, and what was pushed since a time; return why a tracker did not take it."""
    failed: dict[str, str] = {}
    telling = _TELLING.setdefault(run, Telling())
    telling.go_on(writers, without, failed.__setitem__)
    for item in judged:
        telling.judged(item)
    telling.pushed(run, since)
    return failed


def _log(name: str, reason: str) -> None:
    LOG.warning("%s: nothing more is logged to it: %s", name, reason)
