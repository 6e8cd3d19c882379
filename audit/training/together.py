"""Several processes train one run: process 0 decides, and whatever ends it ends the others; none of them hangs."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from audit.backend.signals import STOP, caught
from audit.backend.training import LegFailed, LegResult, Team
from audit.errors import AuditError
from audit.training.run_state import TrainRefused
from audit.training.training_process import Stopped

T = TypeVar("T")
PATIENCE = 60.0
"""Seconds that a process waits for process 0 after its part of a leg failed: process 0 may be stuck in the leg."""

GRACE_SECONDS = 1.0
"""Seconds that other processes wait before they end, so that process 0 can report why: a launcher ends all at once."""

FIRST_PATIENCE = 10.0
"""Seconds that process 0 waits for the others after its part of a leg failed and was recorded."""


class Ended(Exception):
    """Process 0 has ended the training and reported why; this one ends silently with the same ``code``."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"process 0 ended with code {code}")


class Together:
    """A team as the loop uses it. Signals are caught by :meth:`signals`, which needs the main thread."""

    def __init__(self, team: Team, command: str = "train") -> None:
        self._team, self._command = team, command
        self.rank, self.size = team.rank, team.size
        self.came: list[int] = []
        """SIGTERM and SIGINT that were received while this process was in no leg."""
        self._interruptible = team.size == 1

    def share(self, decide: Callable[[], T], outcome: LegResult | AuditError | None = None) -> T:
        """Call ``decide`` on process 0 and return its value on every process.

        Raises on process 0 what it raised, on the others :class:`Ended`. ``outcome`` of this process's leg: if that
        failed, process 0 decides before it meets the others, who may never come.
        """
        raised: list[BaseException] = []

        def attempt() -> tuple[bool, Any]:
            try:
                return True, self._interrupted_by_signals(decide)
            except BaseException as error:  # the others wait for an answer, whatever happened
                raised.append(error)
                return False, _code(error)

        if self.size == 1:
            return decide()
        early = attempt() if self.rank == 0 and isinstance(outcome, AuditError) else None
        try:
            with self._not_for_ever(outcome, raised):
                good, value = self._team.share((lambda: early) if early is not None else attempt)
        except AuditError:
            if not raised:
                raise
        if raised:
            raise raised[0]
        if not good:
            raise Ended(value)
        return value

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Let SIGTERM between two legs end the training at once, with every ``finally``.

        Of several processes only process 0 listens, and only while it decides: the others hear of it from there.
        """

        def stop(number: int, frame: object) -> None:
            self.came.append(number)
            if self._interruptible:
                raise Stopped if number == signal.SIGTERM else KeyboardInterrupt

        with caught(stop, (signal.SIGTERM,) if self.size == 1 else STOP):
            yield

    def _interrupted_by_signals(self, decide: Callable[[], T]) -> T:
        self._interruptible = True
        try:
            if self.came:
                raise Stopped if self.came[0] == signal.SIGTERM else KeyboardInterrupt
            return decide()
        finally:
            self._interruptible = False

    @contextmanager
    def _not_for_ever(self, outcome: LegResult | AuditError | None, raised: list[BaseException]) -> Iterator[None]:
        """Print why the leg failed here, and end if the others do not come: they may be stuck in the same leg.

        What is wrong with the data or the configuration, every process finds, so that is said once, by process 0.
        """
        if not isinstance(outcome, LegFailed) or (self.rank == 0 and not raised):
            yield
            return
        reason = f"{raised[0]}" if self.rank == 0 else f"process {self.rank}: {outcome.reason}"
        words = f"audit {self._command}: {' '.join(reason.split())}\n"

        def end() -> None:
            if self.rank == 0:
                _say(words)
            os._exit(_code(raised[0]) if raised else 1)

        if self.rank != 0:
            _say(words)
        with unless_done_in(PATIENCE if self.rank != 0 else FIRST_PATIENCE, end):
            yield


@contextmanager
def unless_done_in(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Act from another thread if the block has not ended after so many seconds."""
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def follows() -> bool:
    """Whether a launcher started several processes on this machine and another one of them prints the same error."""
    return os.environ.get("LOCAL_RANK", "0") != "0" and os.environ.get("WORLD_SIZE", "1") != "1"


def _say(words: str) -> None:
    sys.stderr.write(words)
    sys.stderr.flush()


def _code(error: BaseException) -> int:
    if isinstance(error, Stopped):
        return 128 + signal.SIGTERM
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    return 1 if isinstance(error, TrainRefused) else 2
