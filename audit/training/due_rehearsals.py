"""``[guard] rehearse``: rehearse what training resumes from, after an unclean end, and once a day."""

import time
from collections.abc import Callable, Iterator

from audit.backend.training import Note, TrainingBackend
from audit.errors import AuditError
from audit.ledger.batch_events import FAILED
from audit.ledger.events import Rehearsed
from audit.ledger.timeline import Timeline
from audit.manager import Registry
from audit.rehearsal.report import RehearsalReport
from audit.text import unix_time
from audit.training.batch_log import BatchLog
from audit.training.config import TrainConfig
from audit.training.drafting import Work
from audit.training.events import Emit
from audit.training.preflight import checkpoint_in
from audit.training.rehearsal import Asked, rehearse
from audit.training.run_state import RunState, TrainRefused

RESUME, DAILY = "resume", "daily"
DAY = 86_400.0
UP_TO = 20
"""Steps between two checkpoints up to which the newer one is trained anew from the older one, and compared."""
TRAINING = "training"
"""The state of a batch whose leg has neither ended nor failed: its process was killed."""


class DueRehearsals:
    """The rehearsals of one call; ``make_room`` ends a process that waits with a model in memory."""

    def __init__(
        self,
        config: TrainConfig,
        trainer: TrainingBackend,
        registry: Registry,
        run_state: RunState,
        batch_log: BatchLog,
        emit: Emit,
        processes: int,
    ) -> None:
        self._config, self._trainer, self._registry = config, trainer, registry
        self._run_state, self._batch_log, self._emit, self._processes = run_state, batch_log, emit, processes
        self.make_room: Callable[[], None] = lambda: None
        self._done: set[str] = set()

    def before(self, work: Work, timeline: Timeline) -> None:
        """Rehearse what the leg resumes from, if it is due. Raises TrainRefused if it differs."""
        path = work.request.resume_from
        if self._config.rehearse is None or path is None or path in self._done:
            return
        if not (_ended_unclean(timeline) or (self._config.rehearse == DAILY and self._a_day_ago())):
            return
        self._done.add(path)
        name = path.rpartition("/")[2]
        if self._processes > 1:
            self._emit(Note(f"{name}: not rehearsed, as {self._processes} processes train; audit rehearse does it"))
            return
        self.make_room()
        try:
            report = self._rehearsed(path)
        except AuditError as error:
            self._emit(Note(f"{name}: not rehearsed: {error}"))
            return
        if not report.same:
            raise TrainRefused(
                f"{self._config.run}: nothing is trained on {name}, as a rehearsal of {report.checkpoint} differs: "
                f"{report.first_difference}; likely cause: {report.judgement.cause}; audit rehearse shows all of it; go back with "
                "--back-to, or train on without guard.rehearse"
            )
        self._emit(Note(_said(report, name)))

    def _rehearsed(self, path: str) -> RehearsalReport:
        """Train from the checkpoint before up to this one, if that is near; otherwise restore this one alone."""
        *others, last = self._ways(path)
        for asked in others:
            report = self._rehearse(asked)
            if not report.same or report.rehearsal.arrivals:
                return report
        return self._rehearse(last)

    def _rehearse(self, asked: Asked) -> RehearsalReport:
        return rehearse(self._config, self._trainer, self._registry, asked)

    def _ways(self, path: str) -> Iterator[Asked]:
        run = self._run_state.opened()
        checkpoint = checkpoint_in(run, path)
        before = run.before(checkpoint) if checkpoint is not None else None
        if checkpoint is not None and before is not None and before.complete:
            gap = checkpoint.step - before.step
            if gap <= UP_TO:
                yield Asked(before.name, gap)
        yield Asked(path.rpartition("/")[2])

    def _a_day_ago(self) -> bool:
        times = [unix_time(row.time) for row in self._batch_log.rows() if isinstance(row.event, Rehearsed)]
        return max((moment for moment in times if moment is not None), default=0.0) < time.time() - DAY


def _ended_unclean(timeline: Timeline) -> bool:
    """Whether the last leg was killed, or failed."""
    batch = timeline.batch(timeline.legs[-1].batch) if timeline.legs else None
    return batch is not None and batch.state in (TRAINING, FAILED)


def _said(report: RehearsalReport, name: str) -> str:
    found = report.rehearsal
    if not report.compared:
        return f"{name}: not rehearsed: nothing of {report.checkpoint} could be compared"
    how = "bit for bit" if report.judgement.bit_for_bit else "within tolerances"
    if found.arrivals and report.exact:
        return f"{name}: rehearsed: trained anew from {report.checkpoint}, it is the same {how} ({found.seconds:.1f} s)"
    steps = f", {report.judgement.steps} steps the same {how}" if report.judgement.judged else ", no step judged"
    return f"{name}: rehearsed: {report.checkpoint} restored as saved{steps} ({found.seconds:.1f} s)"
