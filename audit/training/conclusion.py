"""What a leg did, verified and recorded: finished, stopped, failed, or not proven."""

import math
import os
import time

from audit.backend.training import BadData, Judged, LegFailed, LegResult, Note
from audit.errors import AuditError, ConfigError
from audit.judging.judged import judged_of
from audit.ledger import batch_events as rows
from audit.ledger.events import Accepted
from audit.ledger.store import LedgerError
from audit.retention.pins import pin
from audit.training.base_model import BaseModel
from audit.training.batch_log import BatchLog
from audit.training.data_files import digest_of, unchanged
from audit.training.drafting import Work
from audit.training.events import BatchFailed, BatchFinished, Emit, TrainingStopped
from audit.training.filing import Filing
from audit.training.mixing import place_of
from audit.training.run_state import RunState, TrainRefused, Verified

KEPT_LOSSES = 200


class Conclusion:
    """Concludes the legs of one call; ``accept``: rules whose findings on a trained batch are accepted, and why."""

    def __init__(
        self,
        run_state: RunState,
        batch_log: BatchLog,
        filing: Filing,
        base: BaseModel,
        emit: Emit,
        accept: tuple[str, ...] = (),
        reason: str = "",
    ) -> None:
        self._run_state, self._batch_log, self._filing, self._base, self._emit = (
            run_state,
            batch_log,
            filing,
            base,
            emit,
        )
        self._accept, self._reason = accept, reason
        self.trained = 0
        """Batches that were finished."""
        self._judged: dict[int, Judged] = {}

    def judged(self) -> list[Judged]:
        """Return what was found at each step that was verified since the last time."""
        found, self._judged = list(self._judged.values()), {}
        return found

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
        if not unchanged(work.held) and os.path.exists(work.held.path) and digest_of(work.held) != work.content:
            return self._changed(work, outcome)  # the digest decides: a mere touch changes nothing
        if isinstance(outcome, BadData) and self.set_aside(work, outcome):
            return None
        if isinstance(outcome, AuditError):
            raise self._failed(work, outcome)
        if outcome.last_step <= request.first_step and outcome.stopped_by is None:
            text = f"no step was trained: the run is still at step {outcome.last_step}"
            raise self._failed(work, LegFailed(text, "no-progress", outcome.last_step))
        whole = request.last_step is None or outcome.last_step >= request.last_step
        if outcome.stopped_by is not None and not (whole and request.last_step is not None):
            verified = self._verify(work.batch, work.begun, outcome.last_step)
            problem = verified.problem
            if problem is None and verified.checkpoint is not None:
                self._pin(verified.checkpoint)
            losses = _thinned(outcome.losses)
            self._batch_log.record(
                rows.Stopped(work.batch, work.file.name, outcome.last_step, outcome.stopped_by, losses)
            )
            self._emit(TrainingStopped(outcome.last_step, outcome.stopped_by, problem is None, problem))
            return outcome.stopped_by
        if not whole:
            text = f"training ended at step {outcome.last_step}, before step {request.last_step}"
            raise self._failed(work, LegFailed(text, "short", outcome.last_step))
        self.prove(work.batch, work.file.name, work.begun, outcome.last_step, work.examples)
        return outcome.stopped_by

    def set_aside(self, work: Work, error: BadData) -> bool:
        """Set the file with a bad row aside; False if some of it is trained, or the row is not of this leg.

        Raises TrainRefused if that is no file of the inbox.
        """
        data = work.request.data
        if error.path != data.path or data.first:
            return False
        if not work.sources:
            self._filing.reject(work.file if unchanged(work.file) else work.held, work.batch, error)
            return True
        found = place_of(work.read, error.row) if error.row is not None else None
        if found is None:
            raise self._failed(work, error)
        self.refuse(work, BadData(work.read[found[0]].file.path, found[1], error.reason))
        return True

    def refuse(self, work: Work, error: BadData) -> None:
        """Set one of several files aside; the others are trained anew. Raises TrainRefused for one that is replayed."""
        place = next(place for place, source in enumerate(work.read) if source.file.path == error.path)
        source = work.sources[place]
        if source.rows is not None:
            raise self._failed(work, LegFailed(f"replays {source.file.name}: row {error.row}: {error.reason}"))
        begun = self._batch_log.timeline().batch(work.batch) is not None
        self._filing.reject(source.file if unchanged(source.file) else work.read[place].file, source.digest, error)
        if begun and len(work.own) > 1:
            self._batch_log.record(rows.Dissolved(work.batch, work.file.name))

    def _changed(self, work: Work, outcome: LegResult | AuditError) -> int | None:
        """Discard the steps of a leg whose file was written into: it is unknown what was trained."""
        step = work.request.first_step
        reason = "was written to while it was trained: its steps are discarded, and its new content is a new batch"
        self._run_state.give_up(step)
        self._batch_log.record(rows.Failed(work.batch, work.file.name, step, "changed", reason))
        self._emit(BatchFailed(work.file.name, step, "changed", reason))
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
        self._emit(BatchFailed(work.file.name, step, kind, reason))
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

    def prove(self, digest: str, name: str, begun: int, step: int, examples: int | None) -> None:
        """Verify what was saved at ``step``, and finish the batch if it is proven. Raises TrainRefused."""
        started = time.perf_counter()
        verified = self._verify(digest, begun, step)
        if self._accepted(verified):
            verified = self._verify(digest, begun, step)  # a checkpoint is sealed in a verification
        for finding in verified.accepted:
            self._emit(Note(f"{name}: accepted: {finding.message} ({finding.rule}): {finding.accepted}"))
        checkpoint, reason = verified.checkpoint, verified.problem
        if reason is not None or checkpoint is None:
            reason = reason or f"there is no checkpoint of step {step}"
            again = "; it failed here before" if self._failures(digest, step) else ""
            self._batch_log.record(rows.Failed(digest, name, step, "not-proven", reason, begun))
            rule = next((item.rule for item in verified.against if not item.blocks_resume), None)
            self._emit(BatchFailed(name, step, "not-proven", reason))
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
                base=self._base.identity() if self._base.unread else None,  # it was downloaded meanwhile
            )
        )
        self._pin(checkpoint)
        self.trained += 1
        self._emit(
            BatchFinished(
                file=name,
                first_step=begun,
                last_step=step,
                examples=examples,
                first_loss=losses[0][1] if losses else None,
                last_loss=losses[-1][1] if losses else None,
                checkpoint=checkpoint,
                verdict=verified.report.verdict,
                best=verified.best,
            )
        )

    def _pin(self, checkpoint: str) -> None:
        try:
            pin(self._run_state.run, checkpoint)
        except AuditError as error:
            self._emit(Note(f"not pinned: {error}"))

    def _verify(self, digest: str, begun: int, step: int) -> Verified:
        verified = self._run_state.verify(step, begun, self._batch_log.timeline().known(digest))
        if verified.checkpoint is not None:
            self._judged[step] = judged_of(verified.report, step)
        return verified

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


def _thinned(losses: tuple[tuple[int, float], ...]) -> list[tuple[int, float]]:
    """Return about two hundred at most, with the first and the last; losses that are not finite are left out."""
    every = max(1, math.ceil(len(losses) / KEPT_LOSSES))
    kept = [*losses[::every], *losses[-1:]] if losses else []
    return [(step, loss) for step, loss in dict(kept).items() if math.isfinite(loss)]
