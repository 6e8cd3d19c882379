"""What is trained next, and its result: one batch after the other, so that every example is trained once.

Each round: guard -> plan -> one leg through the backend -> verify and seal -> record -> only then retire the data file.
The ledger alone records what was trained (:mod:`audit.ledger.timeline`); the checkpoint that the guard hands out says
where to resume. After a kill at any moment, the next round continues.
"""

import os
from functools import partial

from audit.backend.names import step_of
from audit.backend.training import BadData, Note, TrainingBackend
from audit.data.containers import A_LINK
from audit.judging.proving import proving
from audit.ledger import batch_events as rows
from audit.ledger.batches import Batch, Leg
from audit.ledger.timeline import Timeline
from audit.manager import Registry
from audit.rehearsal.machine import machine
from audit.retention.pins import keep_apart
from audit.training.adoption import unrecorded
from audit.training.base_model import BaseModel
from audit.training.batch_log import BatchLog
from audit.training.conclusion import Conclusion
from audit.training.config import TrainConfig
from audit.training.data_files import DataFile, DataFiles, unchanged
from audit.training.days import Days
from audit.training.dead_end import ways_on
from audit.training.drafting import Drafting, Work
from audit.training.due_rehearsals import DueRehearsals
from audit.training.events import (
    BatchStarted,
    Emit,
)
from audit.training.filing import Filing
from audit.training.gathering import Gathering
from audit.training.going_back import Retreat
from audit.training.held_out import HeldOut
from audit.training.inbox import Stillness
from audit.training.mixing import ChangedError, Source, mix
from audit.training.preflight import refuse_or_warn
from audit.training.run_state import RunState, TrainRefused
from audit.training.way_back import Surveyor

AGAIN = True
"""There is no leg yet, but something was done: look again."""


class Session:
    """One call of ``audit train``, on process 0.

    ``processes`` train together. ``watch``: a daemon, which may wait for more files. ``decay``: the waiting files
    are the last ones, the learning rate falls at their end. ``skip_lost``: continue without batches that must be
    trained again and whose files are gone. ``allow_fresh``: start over if nothing can be resumed from. ``adopt``:
    continue although the ledger does not record all of the run, see :mod:`audit.training.adoption`. ``accept``:
    rules whose findings on a trained batch are accepted, for this ``reason``. ``back_to``: go back to this
    checkpoint first, and never train the batches of the files ``drop`` again. ``allow_dropped``: train files that
    were dropped if they are in the inbox again. ``change``: settings whose values in the configuration are put into
    effect with the next batch. ``batch_log``, ``files`` and ``filing`` replace those of the run and of its data in
    a dry run.
    """

    def __init__(
        self,
        config: TrainConfig,
        trainer: TrainingBackend,
        registry: Registry,
        emit: Emit,
        *,
        processes: int = 1,
        watch: bool = False,
        decay: bool = False,
        skip_lost: bool = False,
        allow_fresh: bool = False,
        adopt: bool = False,
        accept: tuple[str, ...] = (),
        reason: str = "",
        back_to: str | None = None,
        drop: tuple[str, ...] = (),
        allow_dropped: bool = False,
        change: tuple[str, ...] = (),
        batch_log: BatchLog | None = None,
        files: DataFiles | None = None,
        filing: Filing | None = None,
    ) -> None:
        self.config, self.trainer, self.registry, self.emit = config, trainer, registry, emit
        self.processes, self.skip_lost, self.adopt = processes, skip_lost, adopt
        # The lock keeps other trainings away: an incomplete checkpoint stays incomplete.
        self.options = proving(config.verify)._replace(settle_seconds=0.0, ledger=True)
        self._batch_log, self._files = batch_log or BatchLog(config.run), files or DataFiles(config.data)
        self.filing = filing or Filing(config.data, self._files, self._batch_log, emit)
        self._drafting = Drafting(config, trainer, self._files, processes, decay, change, skip_lost)
        self.stillness = Stillness(config.watch.settle_seconds)
        limits = config.guard._replace(allow_fresh=allow_fresh)
        self._run_state = RunState(config.run, self.options, limits, registry, self._batch_log, emit)
        self.rehearsals = DueRehearsals(config, trainer, registry, self._run_state, self._batch_log, emit, processes)
        self._base = BaseModel(config, trainer, emit)
        self.held_out = HeldOut(config, registry, emit)
        self.conclusion = Conclusion(self._run_state, self._batch_log, self.filing, self._base, emit, accept, reason)
        surveyor = Surveyor(config.run, self.options, registry, self._batch_log, self._files, self.filing.held_files)
        self._run_state.ways_on = partial(ways_on, config.run, surveyor)
        self._retreat = Retreat(surveyor, self._run_state, self._batch_log, self.filing, emit, back_to, drop, skip_lost)
        self._allow_dropped, self._watch = allow_dropped, watch
        self.days = Days(config.run, bool(config.notify.told), self._batch_log, emit)
        self._name = ""
        self.unsettled: float | None = None
        self.gathered: tuple[float, tuple[DataFile, ...]] | None = None
        """The seconds that a daemon waits for more files to train together, and what is in the inbox meanwhile."""
        self._gathering = Gathering(config.data, watch)
        self._recorded = False
        for name in accept:
            registry.rule(name)

    def trained_any(self) -> bool:
        """Whether the run has a checkpoint at all."""
        try:
            return any(step_of(name) is not None for name in os.listdir(self.config.run))
        except OSError:  # there is no run yet, or what ends the training says why it cannot be listed
            return False

    def next(self) -> Work | None:
        """Return the leg to train now, None if no file waits. Raises TrainRefused, AuditError."""
        os.makedirs(self.config.run, exist_ok=True)
        while True:
            timeline = self._batch_log.timeline()
            if self.filing.retire(timeline) or self._retreat.act(timeline):
                continue
            step, checkpoint = self._run_state.guard(timeline)
            if not self._all_recorded(timeline, step, checkpoint):
                continue
            found = self._choose(timeline, step, checkpoint)
            if found is None:
                if self.unsettled is None and not self._watch:
                    self._say_what_is_not_changed(timeline, step)
                self.filing.release(timeline)
                return None
            if isinstance(found, Work):
                refuse_or_warn(found, self.trainer, self.registry, self.options, self.processes, timeline, self.emit)
                self._run_state.check_way(step)
                self.rehearsals.before(found, timeline)
                held = self._hold(self.held_out.prepared(found, timeline))
                if held is not None:
                    self._begin(held, timeline)
                    self._name = self._name or self._batch_log.name()
                    return held._replace(request=held.request._replace(name=self._name))

    def _say_what_is_not_changed(self, timeline: Timeline, step: int) -> None:
        """At the end of a call in which no batch began; a file that is being written may still be one, later."""
        there = {**timeline.wanted_at(step), **timeline.settings_at(step + 1)}
        left = [name for name, value in self._drafting.changing.items() if there.get(name) != value]
        if left:
            self.emit(Note(f"--change {' '.join(left)}: not made, as no batch began; give it again with the next file"))

    def _all_recorded(self, timeline: Timeline, step: int, checkpoint: str | None) -> bool:
        """Whether the ledger records all of the run, or what it does not was adopted; looked at once in a call.

        False if it was adopted just now. Raises TrainRefused.
        """
        if self._recorded:
            return True
        found = unrecorded(timeline, self._batch_log.events(), step, self.config.data, self._files)
        if found is None:
            self._recorded = True
            return True
        if not self.adopt:
            begun = self.filing.held_files.names_of(self._files.waiting())
            raise TrainRefused(found.refusal(self.config.run, checkpoint, self.config.data, begun))
        for row in found.rows():
            self._batch_log.record(row)
        if found.step:
            self.emit(Note(f"adopted: {checkpoint}, whose {found.step} steps belong to no batch"))
        if found.files:
            self.emit(Note(f"adopted as trained: {', '.join(file.name for file, _ in found.files)}"))
        return False

    def _choose(self, timeline: Timeline, step: int, checkpoint: str | None) -> Work | bool | None:
        """Return what follows on ``step``: work, None for nothing, AGAIN if another round is needed."""
        owner = timeline.owner(step)
        batch = timeline.batch(owner.batch) if owner is not None else None
        if owner is not None and batch is not None:
            proven = batch.trained or owner.over
            if not (owner.whole_at(step) if owner.last_step is not None else proven):
                return self._go_on(timeline, owner, batch, step, checkpoint)
            if not proven:  # the last call was interrupted between the save and the record
                self._prove(batch.digest, batch.file, batch.first_step, step, batch.examples)
                self._run_state.finish_rotation(step)
                return AGAIN
        for later in timeline.beyond(step):
            files = self.filing.find(later)
            if None in files:
                self._lost(later, step, files)
                return AGAIN
            return self._draft(timeline, later, files, step, checkpoint, timeline.trained(later.digest, step))
        return self._from_inbox(timeline, step, checkpoint)

    def _go_on(self, timeline: Timeline, owner: Leg, batch: Batch, step: int, checkpoint: str | None) -> Work | bool:
        """Continue a batch in the middle."""
        begun = step > batch.first_step or self._was_trained(batch)
        files = self.filing.find(batch, held=begun)  # replaced or deleted in the inbox since then
        if None in files and not begun:
            gone = next(item for item, file in zip(batch.files, files, strict=True) if file is None)
            written = self._written_into(batch)
            reason = written or "was removed before its first step was trained"
            if batch.parts:
                self._batch_log.record(rows.Dissolved(batch.digest, batch.file))
            else:
                self._batch_log.record(rows.Rejected(batch.digest, batch.file, reason))
            if written is None:  # otherwise it was said as the leg ended
                self.emit(Note(f"{gone.file}: {reason}"))
            return AGAIN
        if None in files:
            self._lost(batch, step, files)
            return AGAIN
        return self._draft(timeline, batch, files, step, checkpoint, (owner, owner.example_at(step)))

    def _draft(
        self,
        timeline: Timeline,
        batch: Batch,
        files: tuple[DataFile | None, ...],
        step: int,
        checkpoint: str | None,
        past: tuple[Leg, int] | None,
    ) -> Work:
        """Return the next leg of a batch that was begun before, whose files are all there."""
        there = [file for file in files if file is not None]
        if not batch.parts:
            return self._drafting.draft(timeline, there[0], batch.digest, step, checkpoint, past)
        found = zip(batch.files, there, strict=True)
        group = tuple(self._drafting.source(file, item.digest) for item, file in found)
        return self._drafting.draft_group(timeline, group, step, checkpoint, past)

    def _written_into(self, batch: Batch) -> str | None:
        """Return why the last leg of a batch was discarded if its file was written to, None if it was not."""
        last = next((row for row in reversed(self._batch_log.events()) if row.batch == batch.digest), None)
        return last.reason if isinstance(last, rows.Failed) and last.kind == "changed" else None

    def _was_trained(self, batch: Batch) -> bool:
        """Whether the batch was once finished, or stopped after a step, before the run went back."""
        ended = (
            row for row in self._batch_log.events() if isinstance(row, rows.Finished | rows.Retired | rows.Stopped)
        )
        return any(row.batch == batch.digest for row in ended)

    def _from_inbox(self, timeline: Timeline, step: int, checkpoint: str | None) -> Work | bool | None:
        self.unsettled = self.gathered = None
        self._gathering.begin()
        for file in self._files.waiting():
            if os.path.islink(file.path):  # its target is not read: it may be anything, anywhere
                self.filing.reject(file, "", BadData(file.path, None, A_LINK))
                return AGAIN
            wait = self.stillness.left(file)
            digest = self._files.digest(file) if not wait else ""
            if not digest:
                wait = wait or self.config.watch.settle_seconds or 0.1
                self.unsettled = min(wait, self.unsettled or wait)
                continue
            try:
                again = self._trained_before(timeline, file, digest)
                if again is not None:
                    self.filing.aside(file, rows.Duplicate(digest, file.name, again))
                    return AGAIN
                past = timeline.trained(digest, step)
                if self.config.data.group is None or (past is not None and not self._gathering.files):
                    return self._drafting.draft(timeline, file, digest, step, checkpoint, past)
                if past is not None:  # goes on by itself, after those before it
                    self._gathering.close()
                    break
                source = self._drafting.source(file, digest)
                twin = self._gathering.twin(source)
                if twin is not None:
                    reason = f"has the same rows as {twin.name}, which waits to be trained with it"
                    self.filing.aside(file, rows.Duplicate(digest, file.name, reason))
                    return AGAIN
                if not self._gathering.add(source, self._drafting.format_of(file)):
                    break
            except BadData as error:
                if unchanged(file):  # otherwise it is being written again
                    self._check_others(file, error)
                    self.filing.reject(file, digest, error)
                return AGAIN
        left = self._gathering.left()
        if left:
            self.gathered = left, self._files.waiting()
        return self._of_gathered(timeline, step, checkpoint) if not left and self._gathering.files else None

    def _of_gathered(self, timeline: Timeline, step: int, checkpoint: str | None) -> Work:
        group = tuple(self._gathering.files)
        if len(group) == 1:
            return self._drafting.draft(timeline, group[0].file, group[0].digest, step, checkpoint, None)
        return self._drafting.draft_group(timeline, group, step, checkpoint, None)

    def _trained_before(self, timeline: Timeline, file: DataFile, digest: str) -> str | None:
        """Return why a file is not trained again, None if it was not. Raises BadData."""
        before = timeline.batch(digest)
        if before is not None and before.state == rows.RETIRED:
            return f"the same bytes were trained as {before.file}, steps {before.first_step + 1} to {before.step}"
        if not self._allow_dropped and {digest, self._rows_of(file)} & timeline.dropped.keys():
            return "was dropped for good (--drop); --allow-dropped trains it after all"
        if before is None and digest in timeline.adopted_files:
            return f"the same bytes were adopted as trained (--adopt), as {timeline.adopted_files[digest]}"
        twin = timeline.of_rows(self._drafting.rows_digest(file))
        if twin is not None and before is None:
            return f"the same rows were trained as {twin.file}, steps {twin.first_step + 1} to {twin.step}"
        return None

    def _rows_of(self, file: DataFile) -> str | None:
        """Return the digest of a file's rows, None if they cannot be read."""
        try:
            return self._drafting.rows_digest(file)
        except BadData:
            return None

    def _check_others(self, file: DataFile, error: BadData) -> None:
        """Raise TrainRefused if every waiting file is refused for this reason: it is not the fault of the files."""
        others = [other for other in self._files.waiting() if other.path != file.path]
        if others and all(self._drafting.refusal(other) == error.reason for other in others):
            raise TrainRefused(
                f"all {len(others) + 1} files in {self.config.data.inbox} are refused for the same reason, so none is "
                f"moved: {error.reason}; correct the configuration (data.format, data.pattern), or move the files away"
            )

    def _hold(self, work: Work) -> Work | None:
        """Let the leg read a file that cannot be replaced; None if it has changed, or a file was refused."""
        if not work.sources:
            held = self.filing.held_files.hold(work.file, work.batch)
            return self._reading(work, held, work.batch) if held is not None else None
        sources: list[Source] = []
        for source in work.sources:
            there = self.filing.held_files.hold(source.file, source.digest) if source.rows is None else source.file
            if there is None:
                return None
            sources.append(source._replace(file=there))
        try:
            file, content = mix(self.config.run, sources)
        except ChangedError as error:
            if unchanged(error.source.file):
                raise TrainRefused(f"{error}: has other bytes now, although its time stamp is the same") from error
            return None
        except BadData as error:
            self.conclusion.refuse(work._replace(read=tuple(sources)), error)
            return None
        return self._reading(work._replace(read=tuple(sources)), file, content)

    def _reading(self, work: Work, held: DataFile, content: str) -> Work:
        data = work.request.data._replace(path=held.path)
        return work._replace(request=work.request._replace(data=data), held=held, content=content)

    def _begin(self, work: Work, timeline: Timeline) -> None:
        """Record what will be trained, and detach the pins that it will overwrite."""
        request = work.request
        keep_apart(request.run, request.first_step)
        base = self._base.at_begin()
        first = request.first_step == work.begun
        known = self._run_state.known if first else timeline.known(work.batch)
        told = {name: item for name, item in self._drafting.changing.items() if name in request.changes}
        if told and timeline.wanted_at(request.first_step) != {**timeline.wanted_at(request.first_step), **told}:
            self._batch_log.record(rows.Changed(request.first_step, told))
        for name, value in request.changes.items():
            self.emit(Note(f"{name} is {value:g} from step {request.first_step + 1} on, as it was changed"))
        libraries = getattr(self.trainer, "libraries", None)
        here = machine(libraries) if libraries is not None else None
        self._batch_log.record(work.row(self.processes)._replace(base=base, known=known or None, machine=here))
        self._batch_log.hold_reserve()
        self.emit(
            BatchStarted(
                file=work.file.name,
                first_step=request.first_step,
                last_step=request.last_step,
                begun=work.begun,
                examples=work.examples,
                first_example=request.data.first,
                resumed_from=request.resume_from,
            )
        )

    def _prove(self, digest: str, name: str, begun: int, step: int, examples: int | None) -> None:
        self.conclusion.prove(digest, name, begun, step, examples)

    def _lost(self, batch: Batch, step: int, files: tuple[DataFile | None, ...]) -> None:
        """Skip a batch that must be trained from ``step`` on, but is gone. Raises TrainRefused unless ``skip_lost``."""
        gone = next(item.file for item, file in zip(batch.files, files, strict=True) if file is None)
        if not self.skip_lost:
            what = f"is trained to step {step}, not to its end"
            if batch.step > step:
                steps = f"steps {batch.first_step + 1} to {batch.step}"
                what = f"the run went back to step {step}, so this file ({steps}) must be trained again"
            changed = self.filing.changed_since(batch)
            if changed is not None:
                raise TrainRefused(
                    f"{gone}: {what}, but {changed} was changed since, so what is left to train is unknown: put "
                    "its old content back, or pass --skip-lost, which skips the rest of it and trains the new "
                    "content as a new batch"
                )
            raise TrainRefused(
                f"{gone}: {what}, but it is neither in the inbox nor in done: put it back into "
                f"{self.config.data.inbox}, or skip it with --skip-lost"
            )
        if batch.parts:
            self.filing.give_up(batch, step, files)
            return
        self._batch_log.record(rows.Lost(batch.digest, batch.file, step))
        self.emit(Note(f"{batch.file}: skipped from step {step} on"))
