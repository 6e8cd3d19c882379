"""What was found after a leg, in the tracker that the leg has logged to: asked of the process that has trained it.

Nothing here ends a training. What a tracker does not take is said once, and nothing more is logged to it in the call.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from audit.backend.training import Judged, LegRequest, Note, TrainingBackend
from audit.errors import AuditError
from audit.ledger import batch_events as rows
from audit.manager import Registry
from audit.text import first_line, utc_time, veiled
from audit.training.batch_log import BatchLog
from audit.training.config import TrainConfig
from audit.training.events import Emit

SECONDS, SECONDS_AT_END = 30.0, 5.0
"""How long the trackers may take for what was found after a leg; and after one that a signal has stopped."""


class Found(NamedTuple):
    """What is to be logged: what was found after legs, and what was pushed ``since``, but not to some trackers."""

    judged: Sequence[Judged]
    since: str
    without: Collection[str] = ()


Log = Callable[[TrainingBackend, LegRequest, Found, float], Mapping[str, str]]
"""Logs what was found, in so many seconds; returns why a tracker did not take it. Raises AuditError."""


def tracks(trainer: TrainingBackend, settings: Mapping[str, Any]) -> bool:
    """Whether legs with these settings log to a tracker."""
    asked = getattr(trainer, "tracks", None)
    return asked is not None and bool(asked(settings))


def log_here(trainer: TrainingBackend, registry: Registry, run: str, found: Found) -> dict[str, str]:
    """Log to the trackers of the leg that this process has trained; return why one did not take it, by its name."""
    backend: Any = trainer
    failed: dict[str, str] = {}
    try:
        with backend.trackers(found.without) as trackers:
            taken = registry.plugins.hook.audit_legs_judged(
                run=run,
                judged=found.judged,
                since=found.since,
                writers=trackers.writers,
                without={*found.without, *trackers.failed},
            )
            for part in taken:
                failed |= part
        failed |= trackers.failed
    except Exception as error:  # of a plugin
        raise AuditError(f"{type(error).__name__}: {veiled(first_line(error))}") from error
    return failed


class Tracking:
    """One call of ``audit train``: what was found after each :meth:`leg` is logged."""

    def __init__(self, trainer: TrainingBackend, config: TrainConfig, log: Log, emit: Emit) -> None:
        self._trainer, self._log, self._emit = trainer, log, emit
        self._tracks = tracks(trainer, config.settings)
        self._off: set[str] = set()
        self._gone = False
        self._since = _last_concluded(config.run) if self._tracks else ""

    @contextmanager
    def leg(self, request: LegRequest, judged: Callable[[], Sequence[Judged]], stopped: bool) -> Iterator[None]:
        """Log what was ``judged`` inside, also if that raises AuditError: then the leg was not proven.

        If it is nothing, the process that has trained the leg hears of that: it waits.
        """
        try:
            yield
        except AuditError:
            self._tell(request, judged(), stopped)
            raise
        self._tell(request, judged(), stopped)

    def _tell(self, request: LegRequest, judged: Sequence[Judged], stopped: bool) -> None:
        if not self._tracks:
            return
        now = utc_time()
        found = Found(() if self._gone else judged, self._since, sorted(self._off))
        try:
            failed = self._log(self._trainer, request, found, SECONDS_AT_END if stopped else SECONDS)
        except AuditError as error:
            failed, self._gone = {}, True
            self._emit(Note(f"what is found is no longer logged to a tracker in this call: {error}"))
        self._since = now
        for name in sorted(failed.keys() - self._off):
            self._off.add(name)
            self._emit(Note(f"{name}: what is found is no longer logged to it in this call: {failed[name]}"))


def _last_concluded(run: str) -> str:
    """Return when a leg was concluded last, "" if none was. A ledger that cannot be read ends the training later."""
    try:
        told = reversed(BatchLog(run).rows())
    except AuditError:
        return ""
    return next((row.time for row in told if isinstance(row.event, rows.Finished | rows.Stopped | rows.Failed)), "")
