"""What is trained next, and its result: one batch after the other, so that every example is trained once.

Each round: guard -> plan -> one leg through the backend -> verify and seal -> record -> only then retire the data file.
The ledger alone records what was trained (:mod:`audit.ledger.timeline`); the checkpoint that the guard hands out says
where to resume. After a kill at any moment, the next round continues.
"""

import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress

from audit.backend.names import step_of
from audit.backend.training import BadData, LegFailed, LegResult, Note, TrainingBackend
from audit.data.containers import A_LINK
from audit.errors import AuditError, ConfigError
from audit.judging.proving import proving
from audit.ledger import batch_events as rows
from audit.ledger.events import Accepted
from audit.ledger.store import LedgerError
from audit.ledger.timeline import Batch, Leg, Timeline
from audit.manager import Registry
from audit.retention.pins import keep_apart, pin
from audit.training.adoption import unrecorded
from audit.training.batch_log import BatchLog
from audit.training.config import TrainConfig
from audit.training.data_files import DataFile, DataFiles, digest_of, unchanged
from audit.training.drafting import Drafting, Work
from audit.training.events import (
    BatchFailed,
    BatchFinished,
    BatchStarted,
    Emit,
    FileDuplicate,
    FileRejected,
    FileRetired,
    TrainingStopped,
)
from audit.training.held_file import HeldFiles
from audit.training.inbox import Stillness, retire, set_aside
from audit.training.preflight import refuse_or_warn
from audit.training.run_state import RunState, TrainRefused, Verified

KEPT_LOSSES = 200


class Session:
    """One call of ``audit train``, on process 0.

    ``processes`` train together. ``decay``: the waiting files are the last ones, the learning rate falls at their end.
    ``skip_lost``: continue without batches that must be trained again and whose files are gone. ``allow_fresh``: start
    over if nothing can be resumed from. ``adopt``: continue although the ledger does not record all of the run, see
    :mod:`audit.training.adoption`. ``accept``: rules whose findings on a trained batch are accepted, for this
    ``reason``. ``batch_log`` and ``files`` replace those of the run and of its data in a dry
    run.
    """

    def __init__(
        self,
        config: TrainConfig,
        trainer: TrainingBackend,
        registry: Registry,
        emit: Emit,
        *,
        processes: int = 1,
        decay: bool = False,
        skip_lost: bool = False,
        allow_fresh: bool = False,
        adopt: bool = False,
        accept: tuple[str, ...] = (),
        reason: str = "",
        batch_log: BatchLog | None = None,
        files: DataFiles | None = None,
    ) -> None:
        self.config, self.trainer, self.registry, self.emit = config, trainer, registry, emit
        self.processes, self.skip_lost, self.adopt = processes, skip_lost, adopt
        # The lock keeps other trainings away: an incomplete checkpoint stays incomplete.
        self.options = proving(config.verify)._replace(settle_seconds=0.0, ledger=True)
        self.set_aside = 0
        self.trained = 0
        self._batch_log, self._files = batch_log or BatchLog(config.run), files or DataFiles(config.data)
        self._drafting = Drafting(config, trainer, self._files, processes, decay)
        self._held_files, self.stillness = HeldFiles(config.data.inbox), Stillness(config.watch.settle_seconds)
        limits = config.guard._replace(allow_fresh=allow_fresh)
        self._run_state = RunState(config.run, self.options, limits, registry, self._batch_log, emit)
        self.unsettled: float | None = None
        self._base_unread = self._base_told = False
        self._recorded = False
        self._accept, self._reason = accept, reason
        for name in accept:
            registry.rule(name)

    def trained_any(self) -> bool:
        """Whether the run has a checkpoint at all."""
        return any(step_of(name) is not None for name in os.listdir(self.config.run))

    def next(self) -> Work | None:
        """Return the leg to train now, None if no file waits. Raises TrainRefused, AuditError."""
        os.makedirs(self.config.run, exist_ok=True)
        while True:
            timeline = self._batch_log.timeline()
            if self._retire(timeline):
                continue
            step, checkpoint = self._run_state.guard(timeline)
            if not self._all_recorded(timeline, step, checkpoint):
                continue
            found = self._choose(timeline, step, checkpoint)
            if found is None:
                self._release(timeline)
                return None
            if isinstance(found, Work):
                refuse_or_warn(found, self.trainer, self.registry, self.options, self.processes, timeline, self.emit)
                self._run_state.check_way(step)
                held = self._hold(found)
                if held is not None:
                    self._begin(held, timeline)
                    return held

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
            begun = self._held_files.names_of(self._files.waiting())
            raise TrainRefused(found.refusal(self.config.run, checkpoint, self.config.data, begun))
        for row in found.rows():
            self._batch_log.record(row)
        if found.step:
            self.emit(Note(f"adopted: {checkpoint}, whose {found.step} steps belong to no batch"))
        if found.files:
            self.emit(Note(f"adopted as trained: {', '.join(file.name for file, _ in found.files)}"))
        return False

    def _choose(self, timeline: Timeline, step: int, checkpoint: str | None) -> Work | bool | None:
        """Return what follows on ``step``: work, None for nothing, True if another round is needed."""
        owner = timeline.owner(step)
        batch = timeline.batch(owner.batch) if owner is not None else None
        if owner is not None and batch is not None:
            proven = batch.trained or owner.over
            if not (owner.whole_at(step) if owner.last_step is not None else proven):
                return self._go_on(timeline, owner, batch, step, checkpoint)
            if not proven:  # the last call was interrupted between the save and the record
                self._prove(batch.digest, batch.file, batch.first_step, step, batch.examples)
                self._run_state.finish_rotation(step)
                return True
        for later in timeline.beyond(step):
            file = self._files.find(later) or self._held_files.find(later.file, later.digest)
            if file is None:
                self._lost(later, step)
                return True
            past = timeline.trained(later.digest, step)
            return self._drafting.draft(timeline, file, later.digest, step, checkpoint, past)
        return self._from_inbox(timeline, step, checkpoint)

    def _go_on(self, timeline: Timeline, owner: Leg, batch: Batch, step: int, checkpoint: str | None) -> Work | bool:
        """Continue a batch in the middle."""
        file = self._files.find(batch)
        begun = step > batch.first_step or self._was_trained(batch)
        if file is None and begun:  # replaced or deleted in the inbox since then
            file = self._held_files.find(batch.file, batch.digest)
        if file is None and not begun:
            reason = "was removed before its first step was trained"
            self._batch_log.record(rows.Rejected(batch.digest, batch.file, reason))
            self.emit(Note(f"{batch.file}: {reason}"))
            return True
        if file is None:
            self._lost(batch, step)
            return True
        past = owner, owner.example_at(step)
        return self._drafting.draft(timeline, file, batch.digest, step, checkpoint, past)

    def _was_trained(self, batch: Batch) -> bool:
        """Whether the batch was once finished, or stopped after a step, before the run went back."""
        ended = (
            row for row in self._batch_log.events() if isinstance(row, rows.Finished | rows.Retired | rows.Stopped)
        )
        return any(row.batch == batch.digest for row in ended)

    def _from_inbox(self, timeline: Timeline, step: int, checkpoint: str | None) -> Work | bool | None:
        self.unsettled = None
        for file in self._files.waiting():
            if os.path.islink(file.path):  # its target is not read: it may be anything, anywhere
                self._reject(file, "", BadData(file.path, None, A_LINK))
                return True
            wait = self.stillness.left(file)
            digest = self._files.digest(file) if not wait else ""
            if not digest:
                wait = wait or self.config.watch.settle_seconds or 0.1
                self.unsettled = min(wait, self.unsettled or wait)
                continue
            before = timeline.batch(digest)
            if before is not None and before.state == rows.RETIRED:
                steps = f"steps {before.first_step + 1} to {before.step}"
                reason = f"the same bytes were trained as {before.file}, {steps}"
                self._aside(file, rows.Duplicate(digest, file.name, reason))
                return True
            if before is None and digest in timeline.adopted_files:
                reason = f"the same bytes were adopted as trained (--adopt), as {timeline.adopted_files[digest]}"
                self._aside(file, rows.Duplicate(digest, file.name, reason))
                return True
            try:
                twin = timeline.of_rows(self._drafting.rows_digest(file))
                if twin is not None and before is None:
                    reason = f"the same rows were trained as {twin.file}, steps {twin.first_step + 1} to {twin.step}"
                    self._aside(file, rows.Duplicate(digest, file.name, reason))
                    return True
                return self._drafting.draft(timeline, file, digest, step, checkpoint, timeline.trained(digest, step))
            except BadData as error:
                if unchanged(file):  # otherwise it is being written again
                    self._check_others(file, error)
                    self._reject(file, digest, error)
                return True
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
        """Let the leg read a file that cannot be replaced; None if it has changed."""
        held = self._held_files.hold(work.file, work.batch)
        if held is None:
            return None
        data = work.request.data._replace(path=held.path)
        return work._replace(request=work.request._replace(data=data), held=held)

    def _base(self) -> Mapping[str, str] | None:
        """Return the identity of the base model, None if the backend does not say."""
        asked = getattr(self.trainer, "base_identity", None)
        return asked(self.config.settings, self.config.seed) if asked is not None else None

    def _tell_base_model(self) -> None:
        """Once: a path may be another one than was meant."""
        asked = getattr(self.trainer, "base_model", None)
        name = asked(self.config.settings) if asked is not None and not self._base_told else None
        self._base_told = True
        if name is not None:
            self.emit(Note(f"base model: {name}"))

    def _begin(self, work: Work, timeline: Timeline) -> None:
        """Record what will be trained, and detach the pins that it will overwrite."""
        request = work.request
        keep_apart(request.run, request.first_step)
        self._tell_base_model()
        base = self._base()
        self._base_unread = base is not None and "weights" not in base
        first = request.first_step == work.begun
        known = self._run_state.known if first else timeline.known(work.batch)
        self._batch_log.record(work.row(self.processes)._replace(base=base, known=known or None))
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

    def conclude(self, work: Work, outcome: LegResult | AuditError) -> int | None:
        """Verify and record what a leg did; return the signal that stopped it, None to continue.

        Raises TrainRefused if it failed or was not proven; its data is then still there.
        """
        try:
            return self._concluded(work, outcome)
        except LedgerError as error:
            text = f"{work.file.name}: what was trained cannot be recorded: {error}"
            raise TrainRefused(
                f"{text}; nothing is lost: run the same command to continue from what was saved"
            ) from error

    def _concluded(self, work: Work, outcome: LegResult | AuditError) -> int | None:
        request = work.request
        if not unchanged(work.held) and os.path.exists(work.held.path) and digest_of(work.held) != work.batch:
            return self._changed(work, outcome)  # the digest decides: a mere touch changes nothing
        if isinstance(outcome, BadData) and outcome.path == request.data.path and request.data.first == 0:
            self._reject(work.file if unchanged(work.file) else work.held, work.batch, outcome)
            return None
        if isinstance(outcome, AuditError):
            raise self._failed(work, outcome)
        if outcome.last_step <= request.first_step and outcome.stopped_by is None:
            text = f"no step was trained: the run is still at step {outcome.last_step}"
            raise self._failed(work, LegFailed(text, "no-progress", outcome.last_step))
        whole = request.last_step is None or outcome.last_step >= request.last_step
        if outcome.stopped_by is not None and not (whole and request.last_step is not None):
            problem = self._verify(work.batch, work.begun, outcome.last_step).problem
            losses = _thinned(outcome.losses)
            self._batch_log.record(
                rows.Stopped(work.batch, work.file.name, outcome.last_step, outcome.stopped_by, losses)
            )
            self.emit(TrainingStopped(outcome.last_step, outcome.stopped_by, problem is None, problem))
            return outcome.stopped_by
        if not whole:
            text = f"training ended at step {outcome.last_step}, before step {request.last_step}"
            raise self._failed(work, LegFailed(text, "short", outcome.last_step))
        self._prove(work.batch, work.file.name, work.begun, outcome.last_step, work.examples)
        return outcome.stopped_by

    def _changed(self, work: Work, outcome: LegResult | AuditError) -> int | None:
        """Discard the steps of a leg whose file was written into: it is unknown what was trained."""
        step = work.request.first_step
        reason = "was written to while it was trained: its steps are discarded, and its new content is a new batch"
        self._run_state.give_up(step)
        self._batch_log.record(rows.Failed(work.batch, work.file.name, step, "changed", reason))
        self.emit(BatchFailed(work.file.name, step, "changed", reason))
        return outcome.stopped_by if isinstance(outcome, LegResult) else None

    def _failed(self, work: Work, error: AuditError) -> AuditError:
        """Record a failure and return the exception to raise; it mentions earlier failures at the same step."""
        kind, step = (error.kind, error.step) if isinstance(error, LegFailed) else ("error", None)
        step = work.request.first_step if step is None else step
        reason = work.shown(error.reason if isinstance(error, (LegFailed, BadData)) else str(error))
        if isinstance(error, BadData) and error.row is not None:
            reason = f"row {error.row}: {reason}"
        again = self._failures(work.batch, step)
        row = rows.Failed(work.batch, work.file.name, step, kind, reason)
        problem = self._batch_log.try_to_record(row)
        if problem and self._run_state.clear_torn(self._batch_log.timeline(), work.request.first_step):
            problem = self._batch_log.try_to_record(row)  # an incomplete checkpoint filled the disk
        self.emit(BatchFailed(work.file.name, step, kind, reason))
        text = f"{work.file.name}: failed at step {step}: {reason}"
        if again:
            times = "the second time" if again == 1 else f"{again + 1} times now"
            text += f"; it failed at this step before ({times}), so another try is unlikely to help"
        if problem:
            text += f"; not recorded: {problem}"
        return error if isinstance(error, ConfigError) else TrainRefused(text)

    def _failures(self, digest: str, step: int) -> int:
        """Return how often a batch failed at this step."""
        failed = (row for row in self._batch_log.events() if isinstance(row, rows.Failed))
        return sum(row.batch == digest and row.step == step for row in failed)

    def _prove(self, digest: str, name: str, begun: int, step: int, examples: int | None) -> None:
        """Verify what was saved at ``step``, and finish the batch if it is proven. Raises TrainRefused."""
        started = time.perf_counter()
        verified = self._verify(digest, begun, step)
        if self._accepted(verified):
            verified = self._verify(digest, begun, step)  # a checkpoint is sealed in a verification
        for finding in verified.accepted:
            self.emit(Note(f"{name}: accepted: {finding.message} ({finding.rule}): {finding.accepted}"))
        checkpoint, reason = verified.checkpoint, verified.problem
        if reason is not None or checkpoint is None:
            reason = reason or f"there is no checkpoint of step {step}"
            again = "; it failed here before" if self._failures(digest, step) else ""
            self._batch_log.record(rows.Failed(digest, name, step, "not-proven", reason, begun))
            rule = next((item.rule for item in verified.against if not item.blocks_resume), None)
            way = f"; once you have judged it, accept it with --accept {rule} --reason TEXT" if rule else ""
            raise TrainRefused(f"{name}: trained to step {step}, but not proven: {reason}{again}{way}")
        losses = verified.losses(begun)
        self._batch_log.record(
            rows.Finished(
                batch=digest,
                file=name,
                first_step=begun,
                last_step=step,
                examples=examples,
                checkpoint=checkpoint,
                losses=_thinned(losses),
                seconds=round(time.perf_counter() - started, 3),
                base=self._base() if self._base_unread else None,  # it was downloaded meanwhile
            )
        )
        try:
            pin(self.config.run, checkpoint)
        except AuditError as error:
            self.emit(Note(f"not pinned: {error}"))
        self.trained += 1
        self.emit(
            BatchFinished(
                file=name,
                first_step=begun,
                last_step=step,
                examples=examples,
                first_loss=losses[0][1] if losses else None,
                last_loss=losses[-1][1] if losses else None,
                checkpoint=checkpoint,
                verdict=verified.report.verdict,
            )
        )

    def _verify(self, digest: str, begun: int, step: int) -> Verified:
        return self._run_state.verify(step, begun, self._batch_log.timeline().known(digest))

    def _accepted(self, verified: Verified) -> bool:
        """Record what a person accepts of the findings; return whether there was anything."""
        found = [item for item in verified.against if item.rule in self._accept and not item.blocks_resume]
        if found:
            with self._batch_log.ledger() as ledger:
                for item in dict.fromkeys(
                    (item.rule, item.checkpoint or verified.checkpoint, item.step) for item in found
                ):
                    ledger.append(Accepted(*item, self._reason), durable=True)
        return bool(found)

    def _retire(self, timeline: Timeline) -> bool:
        """Move the data of finished batches away; return whether there was one."""
        data = self.config.data
        done = [item for item in timeline.batches if item.state == rows.FINISHED]
        for batch in done:
            # The held file is what was trained. One of the same bytes in the inbox is the same file, or a copy of it.
            file = self._files.find(batch, inbox=True)
            held = self._held_files.find(batch.file, batch.digest)
            to = None
            if file is not None:
                held = self._held_files.take(file, batch.digest)
            if held is not None:
                to = retire(held, data)
                self.emit(FileRetired(held.name, to))
            self._batch_log.record(rows.Retired(batch.digest, batch.file, to))
        return bool(done)

    def _release(self, timeline: Timeline) -> None:
        """Remove the second names that are left. The last copy of what was never trained goes to ``rejected``."""
        for file in self._held_files.left():
            digest = self._files.digest(file)
            batch = timeline.batch(digest)
            if batch is not None and batch.state == rows.RETIRED:
                with suppress(OSError):
                    os.unlink(file.path)
                continue
            to = set_aside(file, self.config.data)
            self.emit(Note(f"{to}: was held for a batch that was not trained, and has no other name in the inbox"))

    def _reject(self, file: DataFile, digest: str, error: BadData) -> None:
        where = f"row {error.row}: " if error.row is not None else ""
        self._aside(file, rows.Rejected(digest, file.name, f"{where}{error.reason}"))

    def _aside(self, file: DataFile, row: rows.Rejected | rows.Duplicate) -> None:
        self.set_aside += 1
        to = set_aside(file, self.config.data)
        self._held_files.release(file.name, row.batch)
        self._batch_log.record(row._replace(to=to))
        shown = FileRejected if isinstance(row, rows.Rejected) else FileDuplicate
        self.emit(shown(file.name, row.reason or "", to))

    def _changed_since(self, batch: Batch) -> str | None:
        """Return the path of the file in the inbox that is no longer what it was when the batch began, else None."""
        waiting = self._files.waiting()
        inode = self._held_files.inode(batch.file, batch.digest)  # written to in place: both names lead to it
        found = [file for file in waiting if file.stamp[2] == inode]
        found += [file for file in waiting if file.name == batch.file and self._files.digest(file) != batch.digest]
        return found[0].path if found else None

    def _lost(self, batch: Batch, step: int) -> None:
        """Skip a batch that must be trained from ``step`` on, but is gone. Raises TrainRefused unless ``skip_lost``."""
        if not self.skip_lost:
            what = f"is trained to step {step}, not to its end"
            if batch.step > step:
                steps = f"steps {batch.first_step + 1} to {batch.step}"
                what = f"the run went back to step {step}, so this file ({steps}) must be trained again"
            changed = self._changed_since(batch)
            if changed is not None:
                raise TrainRefused(
                    f"{batch.file}: {what}, but {changed} was changed since, so what is left to train is unknown: put "
                    "its old content back, or pass --skip-lost, which skips the rest of it and trains the new "
                    "content as a new batch"
                )
            raise TrainRefused(
                f"{batch.file}: {what}, but it is neither in the inbox nor in done: put it back into "
                f"{self.config.data.inbox}, or skip it with --skip-lost"
            )
        self._batch_log.record(rows.Lost(batch.digest, batch.file, step))
        self.emit(Note(f"{batch.file}: skipped from step {step} on"))


def _thinned(losses: tuple[tuple[int, float], ...]) -> list[tuple[int, float]]:
    """Return about two hundred at most, with the first and the last; losses that are not finite are left out."""
    every = max(1, math.ceil(len(losses) / KEPT_LOSSES))
    kept = [*losses[::every], *losses[-1:]] if losses else []
    return [(step, loss) for step, loss in dict(kept).items() if math.isfinite(loss)]
