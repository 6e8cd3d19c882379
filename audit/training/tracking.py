"""What was found after a leg, in the tracker that the leg has logged to: asked of the process that has trained it.

Nothing here ends a training. What a tracker does not take is said once, and nothing more is logged to it in the call.
"""

import math
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
from audit.training.saves import Saves

SECONDS_AT_END = 5.0
"""How long the trackers may take, at most, for what was found after a leg that a signal has stopped."""


class Found(NamedTuple):
    """What is to be logged: what was found after legs, and what was pushed ``since``, but not to some trackers.

    They may take so many ``seconds``.
    """

    judged: Sequence[Judged]
    since: str
    without: Collection[str] = ()
    seconds: float = 30.0


Log = Callable[[TrainingBackend, LegRequest, Found], Mapping[str, str]]
"""Logs what was found; returns why a tracker did not take it. Raises AuditError, also if it takes too long."""


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

    def __init__(
        self, trainer: TrainingBackend, config: TrainConfig, log: Log, emit: Emit, registry: Registry | None = None
    ) -> None:
        """``registry``: judge saves within a leg, too; None in all processes of a launcher but the first."""
        self._trainer, self._log, self._emit = trainer, log, emit
        self._config, self._registry = config, registry
        self._tracks = config.log_findings and tracks(trainer, config.settings)
        self._saves: Saves | None = None
        self._off: set[str] = set()
        self._gone = False
        self._since = _last_concluded(config.run) if self._tracks else ""

    @contextmanager
    def saves(self, request: LegRequest) -> Iterator[Callable[[int], None]]:
        """Judge what is saved while the leg is trained inside; call what is yielded with each step.

        What was found goes to the tracker at the next step, by :meth:`meanwhile`, or with the end of the leg.
        """
        if not self._tracks or self._gone or self._registry is None:
            yield lambda step: None
            return
        self._saves = Saves(request.run, request.first_step, self._config.verify, self._registry)
        self._left: list[int] = []
        try:
            yield self._saves.reached
        finally:
            self._left = self._saves.end()

    def meanwhile(self) -> Found | None:
        """Return what was found at saves within the leg since the last time, None if there is nothing to log."""
        judged = self._saves.taken() if self._saves is not None and not self._gone else []
        return Found(judged, self._since, sorted(self._off), self._config.log_seconds) if judged else None

    def refused(self, failed: Mapping[str, str]) -> None:
        """Say why trackers did not take what was found at a save, each once; "" is all of them."""
        if "" in failed:
            self._give_up(failed[""])
        self._switch_off({name: why for name, why in failed.items() if name})

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
        if self._saves is not None:
            # A save that was not judged before the leg has ended was judged with its end.
            left = [judged[0]._replace(step=step) for step in self._left if judged and step != judged[0].step]
            judged, self._saves = [*self._saves.taken(), *left, *judged], None
        seconds = min(self._config.log_seconds, SECONDS_AT_END if stopped else math.inf)
        found = Found(() if self._gone else judged, self._since, sorted(self._off), seconds)
        try:
            failed = self._log(self._trainer, request, found)
        except AuditError as error:
            failed = {}
            self._give_up(str(error))
        self._since = now
        self._switch_off(failed)

    def _give_up(self, why: str) -> None:
        if not self._gone:
            self._emit(Note(f"what is found is no longer logged to a tracker in this call: {why}"))
        self._gone = True

    def _switch_off(self, failed: Mapping[str, str]) -> None:
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
