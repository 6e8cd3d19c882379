"""A session of ``audit train`` that only looks: which legs it would train, which files it would set aside.

Nothing is recorded, moved or made, and nothing is trained. Each leg counts as trained, and the next one follows on it.
"""

import os
from typing import Any, NamedTuple

from audit.backend.names import name_of, step_of
from audit.backend.training import BadData, Note, TrainingBackend
from audit.errors import ConfigError
from audit.judging.decision import Decision
from audit.judging.guard import consult
from audit.ledger.back_events import Dropped, GoingBack, WentBack
from audit.ledger.batch_events import (
    DUPLICATE,
    FINISHED,
    REJECTED,
    BatchEvent,
    Duplicate,
    Finished,
    Rejected,
    Retired,
)
from audit.ledger.batches import Batch
from audit.ledger.store import Row
from audit.ledger.timeline import Timeline
from audit.ledger.timeline_rows import timeline_of
from audit.manager import Registry
from audit.retention.lock import holder_of
from audit.text import utc_time
from audit.training.batch_log import BatchLog
from audit.training.config import Data, TrainConfig
from audit.training.data_files import DataFile, DataFiles
from audit.training.drafting import Work
from audit.training.events import Emit, Event
from audit.training.filing import Filing
from audit.training.inbox import settled
from audit.training.row_trial import RowTrial
from audit.training.run_state import TrainRefused
from audit.training.session import Session


class Aside(NamedTuple):
    """A file that would not be trained: ``event`` is "rejected" or "duplicate"."""

    file: str
    event: str
    reason: str


class Outlook(NamedTuple):
    """The planned legs in order. ``refusal``: why no further leg would be trained; ``later``: files after that."""

    decision: Decision
    works: tuple[Work, ...]
    later: tuple[str, ...]
    aside: tuple[Aside, ...]
    refusal: str | None
    notes: tuple[str, ...]
    timeline: Timeline
    """What the ledger would then record."""
    tried: tuple[int | None, ...]
    """How many rows of each leg were made into examples, None if that was not tried."""
    fault: str | None
    """Why the configuration does not go with the rows, None if it does as far as that was tried."""


class PlannedLog(BatchLog):
    """The batch rows of the ledger as it is, and rows that are added in memory alone."""

    def __init__(self, run: str) -> None:
        super().__init__(run)
        from audit.ledger.store import open_ledger

        ledger = open_ledger(run, False) if os.path.isdir(run) else None
        self._kept: list[Row] = []
        if ledger is not None:
            try:
                self._kept = list(ledger.rows())
            finally:
                ledger.close()

    def timeline(self) -> Timeline:
        return timeline_of(self._kept)

    def events(self) -> list[BatchEvent]:
        return [row.event for row in self._kept if isinstance(row.event, BatchEvent)]

    def record(self, event: BatchEvent) -> None:
        self._kept.append(Row(len(self._kept) + 1, utc_time(), *event.row()))

    @property
    def processes(self) -> int:
        """How many processes trained the last leg; 1 if there is none."""
        legs = self.timeline().legs
        return legs[-1].processes if legs else 1


class _PlannedFiles(DataFiles):
    """The files that would be left: without those that would be moved away."""

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self.gone: set[str] = set()

    def waiting(self) -> tuple[DataFile, ...]:
        return tuple(file for file in super().waiting() if file.path not in self.gone)

    def find(self, batch: Batch, inbox: bool = False) -> DataFile | None:
        found = super().find(batch, inbox)
        if found is not None or inbox:
            return found
        moved = (file for file in super().waiting() if file.path in self.gone)  # it would be in done
        return next((file for file in moved if self.digest(file) == batch.digest), None)


class _PlannedFiling(Filing):
    """Notes what would be moved; ``asides`` are the files that would be set aside."""

    def __init__(self, data: Data, files: _PlannedFiles, batch_log: BatchLog, emit: Emit) -> None:
        super().__init__(data, files, batch_log, emit)
        self._gone = files.gone
        self.asides: list[Aside] = []

    def retire(self, timeline: Timeline) -> bool:
        done = [file for item in timeline.batches if item.state == FINISHED for file in item.files]
        for batch in done:
            file = self._files.find(batch, inbox=True)
            if file is not None:
                self._gone.add(file.path)
            self._batch_log.record(Retired(batch.digest, batch.file, None))
        return bool(done)

    def drop(self, digest: str, name: str) -> None:
        self._gone.update(file.path for file in self._files.copies(digest))
        self._batch_log.record(Dropped(digest, name, None))

    def put_back(self, file: DataFile) -> None:
        self._emit(Note(f"{file.name}: would be put back into the inbox, and is not in this plan"))

    def aside(self, file: DataFile, row: Rejected | Duplicate) -> None:
        self._gone.add(file.path)
        self._batch_log.record(row)
        event = REJECTED if isinstance(row, Rejected) else DUPLICATE
        self.asides.append(Aside(file.name, event, row.reason or ""))


class DryRun(Session):
    """One dry run; ``decided``: what the guard decided, if it was asked before."""

    def __init__(
        self,
        config: TrainConfig,
        trainer: TrainingBackend,
        registry: Registry,
        batch_log: PlannedLog,
        *,
        decided: Decision | None = None,
        **options: Any,
    ) -> None:
        settle = config.watch.settle_seconds
        config = config._replace(watch=config.watch._replace(settle_seconds=0.0))
        files = _PlannedFiles(config.data)
        self._planned = _PlannedFiling(config.data, files, batch_log, self._collect)
        super().__init__(
            config, trainer, registry, self._collect, batch_log=batch_log, files=files, filing=self._planned, **options
        )
        self.options = config.verify._replace(ledger=False)
        self._trial, self._tried = RowTrial(trainer), list[int | None]()
        self._fault: str | None = None
        self._decided = decided
        self._recorded = decided is not None  # audit guard asks about the plan alone
        fresh = [file.name for file in self._files.waiting() if settled(file, settle)]
        self._notes = [f"{name} changed a moment ago; it is planned as it is now" for name in fresh]

    def look(self, only_first: bool = False) -> Outlook:
        """Return what would be trained. Raises AuditError."""
        returning = self._batch_log.timeline().returning
        decision = self._decided or self._consulted(returning)
        step = decision.step or 0
        checkpoint = os.path.basename(decision.checkpoint) if decision.checkpoint else None
        refusal = f"{self.config.run}: {decision.refusal}" if decision.refusal is not None else None
        if decision.dead_end:
            refusal = f"{refusal}; {self._run_state.ways_on(self._batch_log.timeline())}"
        if returning is not None and refusal is None:
            refusal = self._finish_going_back(returning, checkpoint)
        works: list[Work] = []
        while refusal is None:
            timeline = self._batch_log.timeline()
            if self.filing.retire(timeline):
                continue
            try:
                if not self._all_recorded(timeline, step, checkpoint):
                    continue
                found = self._choose(timeline, step, checkpoint)
                if isinstance(found, Work) and not only_first:
                    found = self._looked_at(found, timeline)
            except TrainRefused as error:
                refusal = str(error)
                break
            if found is None:
                break
            if not isinstance(found, Work):
                continue
            works.append(found)
            last = found.request.last_step
            if last is None or only_first:
                break  # what follows begins at a step that is not known
            self._batch_log.record(found.row(self.processes))
            self._prove(found.batch, found.file.name, found.begun, last, found.examples)
            step, checkpoint = last, name_of(last)
        taken = {path for work in works for path in work.paths}
        later = () if only_first else tuple(item.name for item in self._files.waiting() if item.path not in taken)
        return Outlook(
            decision,
            tuple(works),
            later,
            tuple(self._planned.asides),
            refusal,
            tuple(self._notes),
            self._batch_log.timeline(),
            tuple(self._tried) or (None,) * len(works),
            self._fault,
        )

    def _looked_at(self, work: Work, timeline: Timeline) -> Work | bool:
        """Look at what a leg looks at before its first step; True if its file would be set aside. Raises TrainRefused.

        If the configuration does not go with the rows, the legs are planned as if it did, and ``fault`` says so.
        """
        if os.path.isdir(self.config.run):
            self._run_state.check_way(work.request.first_step)
        work = self.held_out.prepared(work, timeline)
        tried = None
        try:
            tried = self._trial.tried(work) if self._fault is None else None
        except ConfigError as error:
            self._fault = str(error) if str(error).startswith("data.eval") else f"{error} ({work.file.name})"
        except BadData as error:
            read = work._replace(read=work.sources)
            if error.path != work.request.data.path:
                self.conclusion.refuse(read, error)
                return True
            if self.conclusion.set_aside(read, error):
                return True
            where = f"row {error.row}: " if error.row is not None else ""
            raise TrainRefused(f"{work.file.name}: {where}{error.reason}") from error
        self._notes += [note for note in tried.notes if note not in self._notes] if tried is not None else []
        self._tried.append(tried.rows if tried is not None else None)
        return work

    def _finish_going_back(self, event: GoingBack, checkpoint: str | None) -> str | None:
        """Plan the end of a going back that was interrupted; return why what follows it cannot be planned."""
        if checkpoint != event.checkpoint:
            return (
                f"{self.config.run}: going back to {event.checkpoint} was interrupted, and what follows it cannot be "
                "planned before that is finished: run audit train, which finishes it first"
            )
        self.filing.take_apart(self._batch_log.timeline(), event.step, {digest for digest, _ in event.drop})
        for digest, file in event.drop:
            self.filing.drop(digest, file)
        dropped = f", {', '.join(file for _, file in event.drop)} dropped" if event.drop else ""
        self._notes.append(f"going back to {checkpoint} was interrupted; it would be finished first{dropped}")
        self._batch_log.record(WentBack(event.step))
        return None

    def _consulted(self, returning: GoingBack | None) -> Decision:
        """Return what the guard would decide once incomplete checkpoints of our legs are removed.

        Likewise once those that are given up by ``returning`` are moved away: they are no loss, and none is skipped.
        """
        config, limits = self.config, self._run_state.limits
        holder = holder_of(config.run)
        if holder is not None:
            self._notes.append(f"{config.run} {holder}; what it trains until then is not in this plan")
        if returning is not None:
            limits = limits._replace(strict=False, max_rollback=None)
        decision = consult(config.run, limits, self.options, registry=self.registry).decision
        if returning is not None:
            left = tuple(item for item in decision.skipped if (step_of(item.checkpoint) or 0) <= returning.step)
            decision = decision._replace(skipped=left, behind=0)
        if decision.refusal is None or not os.path.isdir(config.run):
            return decision
        run = self._run_state.opened()
        torn = {item.name for item in self._run_state.torn(self._batch_log.timeline(), 0)}
        if torn and torn >= {item.name for item in run.checkpoints} and not run.records.highest_reached:
            self._notes.append(f"{', '.join(sorted(torn))}: incomplete, would be removed")
            return Decision(None, None, True, None, ())
        return decision

    def _collect(self, event: Event) -> None:
        if isinstance(event, Note):
            self._notes.append(event.text)

    def _prove(self, digest: str, name: str, begun: int, step: int, examples: int | None) -> None:
        self._batch_log.record(Finished(digest, name, begun, step, examples, name_of(step), (), 0.0))
