"""Where legs are trained: in processes of their own, which what kills the training does not outlive, or in this one."""

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from audit.backend.training import LegRequest, LegResult, Progress, Step, Tell, TrainingBackend
from audit.errors import AuditError
from audit.manager import Registry
from audit.training.logging_thread import Call, LoggingThread
from audit.training.messages import checked
from audit.training.tracking import Found, log_here, tracks
from audit.training.training_process import TrainingProcess

RunLeg = Callable[[TrainingBackend, LegRequest, Tell], LegResult]


def here(trainer: TrainingBackend, request: LegRequest, tell: Tell) -> LegResult:
    """Run the leg in this process."""

    def tell_checked(event: Progress) -> None:
        known = checked(event)
        if known is not None:
            tell(known)

    return trainer.train(request, tell_checked)


class Here:
    """Run legs in this process, one of several that a launcher has started, and log what is found, with a limit."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._logging = LoggingThread()
        self.meanwhile: Callable[[], Found | None] = lambda: None
        """As :attr:`InChild.meanwhile`."""
        self.refused: Callable[[Mapping[str, str]], None] = lambda failed: None
        """As :attr:`InChild.refused`."""

    def __call__(self, trainer: TrainingBackend, request: LegRequest, tell: Tell) -> LegResult:
        """Run one leg. Raises what it raises."""

        def next_call() -> tuple[Call, float] | None:
            found = self.meanwhile()
            return None if found is None else (self._call(trainer, request, found), found.seconds)

        def tell_and_log(event: Progress) -> None:
            tell(event)
            if isinstance(event, Step) and (failed := self._logging.at_step(next_call)) is not None:
                self.refused(failed)

        return here(trainer, request, tell_and_log)

    def log(self, trainer: TrainingBackend, request: LegRequest, found: Found) -> Mapping[str, str]:
        """Log what was found to the trackers of the last leg; return why one did not take it, by its name.

        Raises AuditError, also if it takes too long: it is then left behind in its thread.
        """
        return self._logging.log(self._call(trainer, request, found), found.seconds) if found.judged else {}

    def _call(self, trainer: TrainingBackend, request: LegRequest, found: Found) -> Call:
        return partial(log_here, trainer, self._registry, request.run, found)


class _State(NamedTuple):
    """What a process must have trained last, and by which settings, for a leg to go on in it."""

    backend: str
    run: str
    step: int
    seed: int
    settings: Mapping[str, Any]


class InChild:
    """Run legs in child processes; ``lock`` and ``log`` as for :class:`TrainingProcess`.

    If the backend allows it (``one_process``), a process that has trained a leg to its end trains the next one, too,
    unless that begins elsewhere or by other settings. A leg that failed or was stopped ends it. It loads the checkpoint
    as a new one would; what it saves is the start of the libraries. As a context manager, the last one is ended.
    """

    def __init__(self, lock: int | None = None, log: str | None = None) -> None:
        self._lock, self._log = lock, log
        self._process: TrainingProcess | None = None
        self._after: _State | None = None
        """None while a leg is trained."""
        self._since = 0.0
        self._leaves = False
        """Whether the process ends as soon as it has logged what was found after its leg."""
        self.meanwhile: Callable[[], Found | None] = lambda: None
        """Asked while a leg is trained: what was found at its saves, and is to be logged there and then."""
        self.refused: Callable[[Mapping[str, str]], None] = lambda failed: None
        """Told why a tracker did not take that."""

    def __call__(self, trainer: TrainingBackend, request: LegRequest, tell: Tell) -> LegResult:
        """Run one leg. Raises what the leg raised, and LegFailed if the process died."""
        asked = getattr(trainer, "one_process", None)
        keep = asked is not None and bool(asked(request.settings))
        logs = tracks(trainer, request.settings)
        process = self._waiting(trainer, request) or TrainingProcess(self._lock, self._log)
        self._process, self._after = process, None
        result = None
        try:
            extra = (self.meanwhile, self.refused) if logs else None
            result = process.leg(trainer, request, tell, last=not keep and not logs, extra=extra)
        except AuditError:
            process.close()
            raise
        finally:
            if result is None:
                process.kill()
                self._process = None
        self._since = time.monotonic()
        self._after = _State(trainer.name, request.run, result.last_step, request.seed, request.settings)
        self._leaves = not keep or result.stopped_by is not None
        if self._leaves and not logs:
            self.close()
        return result

    def log(self, trainer: TrainingBackend, request: LegRequest, found: Found) -> Mapping[str, str]:
        """Log what was found to the trackers of the last leg; return why one did not take it, by its name.

        Raises AuditError; the process is then ended.
        """
        logged = False
        try:
            judged = found.judged if self._process is not None and self._after is not None else ()
            failed = self._process.log(trainer, request, found) if self._process and judged else {}
            logged = True
            return failed
        finally:
            if not logged:
                self._after = None  # it is killed
            if not logged or self._leaves:
                self.close()

    def rest(self, seconds: float) -> None:
        """Let a process go that has had nothing to do for so many seconds."""
        if self._process is not None and self._after is not None and time.monotonic() - self._since >= seconds:
            self.close()

    def close(self) -> None:
        """End the process, if there is one."""
        process, after = self._process, self._after
        self._process = self._after = None
        if process is not None:
            if after is not None:
                process.close()
            else:
                process.kill()

    def __enter__(self) -> "InChild":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _waiting(self, trainer: TrainingBackend, request: LegRequest) -> TrainingProcess | None:
        """Return the process that waits, if the leg goes on where it has ended; any other is ended."""
        if self._process is None:
            return None
        begin = _State(trainer.name, request.run, request.first_step, request.seed, request.settings)
        goes_on = request.resume_from is not None and os.path.dirname(request.resume_from) == request.run
        if goes_on and begin == self._after and self._process.waits():
            return self._process
        self.close()
        return None
