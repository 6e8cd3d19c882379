"""A thread that logs to trackers, so that a library that waits for a silent server holds nobody longer than a limit.

No thread can be ended from outside. One that is late is left behind, nothing is logged after it, and it ends with the
process. What can be ended is a process: :meth:`audit.training.training_process.TrainingProcess.log`.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping

from audit.backend.tracker_calls import asked_by, in_thread, late_by
from audit.errors import AuditError

PAUSE = 1.0
"""Seconds that a training waits at a step for what is logged there. Most trackers take it in less, and then the
training and this thread do not use a library at the same time."""

Call = Callable[[], Mapping[str, str]]
"""Logs; returns why a tracker did not take it, by its name. May raise AuditError."""


class LoggingThread:
    """One call at a time. In what is returned the name "" stands for all trackers: the call raised, or was late."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._answers: list[Mapping[str, str]] = []
        self._seconds = self._ends = 0.0
        self._late = ""
        """Why nothing is logged any more."""

    def at_step(self, next_call: Callable[[], tuple[Call, float] | None]) -> Mapping[str, str] | None:
        """Go on between two steps of a training; return why trackers did not take it, None if no call has ended.

        ``next_call`` gives a call and its limit in seconds. It is asked if no call is in progress and none was late.
        """
        failed = self.ended(0.0)
        if failed is None and self._thread is None and not self._late and (asked := next_call()) is not None:
            self._begin(*asked)
            failed = self.ended(PAUSE)
        return failed

    def ended(self, seconds: float = math.inf) -> Mapping[str, str] | None:
        """Wait for the call in progress, until it is late at most; None if it still is, or if there is none."""
        if self._thread is None:
            return None
        self._thread.join(max(0.0, min(seconds, self._ends - time.monotonic())))
        if self._thread.is_alive():
            return self._given_up(self._seconds) if time.monotonic() >= self._ends else None
        self._thread = None
        return self._answers[0]

    def log(self, call: Call, seconds: float) -> Mapping[str, str]:
        """Wait for the call in progress, then for this one; return why trackers did not take what they log.

        Raises AuditError if a call raised, and if they were not done after so many seconds.
        """
        ends = time.monotonic() + seconds
        failed = dict(self.ended(seconds) or {})
        if self._thread is not None:
            failed |= self._given_up(seconds)
        if not self._late and "" not in failed:
            self._begin(call, seconds, ends)
            failed |= self.ended() or {}
        if self._late or "" in failed:
            raise AuditError(self._late or failed[""])
        return failed

    def _begin(self, call: Call, seconds: float, ends: float | None = None) -> None:
        answers: list[Mapping[str, str]] = []
        self._answers = answers  # a late thread keeps those of its own
        self._seconds, self._ends = seconds, time.monotonic() + seconds if ends is None else ends
        self._thread = in_thread(_answer, call, answers)

    def _given_up(self, seconds: float) -> Mapping[str, str]:
        name = asked_by(self._thread) if self._thread is not None else ""
        self._thread, self._late = None, f"{name}: {late_by(seconds)}" if name else late_by(seconds)
        return {"": self._late}


def _answer(call: Call, answers: list[Mapping[str, str]]) -> None:
    try:
        answers.append(call())
    except AuditError as error:
        answers.append({"": str(error)})
    except BaseException as error:  # such as SystemExit; whoever waits needs an answer
        answers.append({"": type(error).__name__})
