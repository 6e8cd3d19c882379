"""Where a run stands: what it can go on from, what is in the way of that, and whether a step is proven."""

import os
from typing import NamedTuple

from audit.audit_dir import PINNED
from audit.backend.names import step_written_to
from audit.backend.training import Note
from audit.errors import AuditError
from audit.facts.checkpoint import Checkpoint
from audit.facts.run import Run
from audit.facts.series import series
from audit.findings import Severity
from audit.judging.auditor import Auditor
from audit.judging.decision import Limits
from audit.judging.guard import Guarded, consult
from audit.judging.verification import verify_run
from audit.ledger.timeline import Timeline
from audit.manager import Registry
from audit.options import Options
from audit.report import Report
from audit.retention.pins import put_back
from audit.retention.quarantine import Candidate, isolate
from audit.retention.trash import empty, place_for
from audit.training.batch_log import BatchLog
from audit.training.events import (
    CheckpointPutBack,
    CheckpointQuarantined,
    CheckpointRotated,
    CheckpointSkipped,
    CheckpointTorn,
    Emit,
)


class TrainRefused(AuditError):
    """A batch was not trained, or not proven; its data is still there. Exit code 1."""


class Verified(NamedTuple):
    """A verification after a leg. ``problem``: why the checkpoint of ``step`` is not proven, None if it is."""

    run: Run
    report: Report
    step: int
    problem: str | None

    @property
    def checkpoint(self) -> str | None:
        """The name of the checkpoint of ``step``, None if there is none."""
        return next((item.name for item in self.report.checkpoints if item.step == self.step), None)

    def losses(self, begun: int) -> tuple[tuple[int, float], ...]:
        """Return the losses that the checkpoint logged of the steps after ``begun``."""
        history = next((item.optional("history") for item in self.run.checkpoints if item.step == self.step), None)
        if history is None:
            return ()
        points = series(history, "loss")
        return tuple((point.step, point.value) for point in points if begun < point.step <= self.step)


class RunState:
    """One run, judged by ``options``; ``limits`` are what the guard may hand out."""

    def __init__(
        self, run: str, options: Options, limits: Limits, registry: Registry, batch_log: BatchLog, emit: Emit
    ) -> None:
        self.run, self.options, self.limits = run, options, limits
        self._registry, self._batch_log, self._emit = registry, batch_log, emit
        self._known: frozenset[tuple[str, str | None]] = frozenset()

    def guard(self, timeline: Timeline) -> tuple[int, str | None]:
        """Return the step to go on from and its checkpoint, None for a fresh start; move what is in the way aside."""
        guarded = self._consulted()
        if guarded.report.crashed:  # our own fault is no reason to give up steps that were trained
            crash = guarded.report.crashed[0]
            raise AuditError(f"rule {crash.rule} crashed, so nothing is trained: {crash.reason}; please report this")
        self._known = _of_run(guarded.report)
        decision = guarded.decision
        if decision.refusal is not None and self.clear_torn(timeline, 0):
            return self.guard(timeline)
        if decision.refusal is not None:
            for item in decision.skipped:
                self._emit(CheckpointSkipped(item.checkpoint, item.reason))
            raise TrainRefused(f"{self.run}: {decision.refusal}")
        if decision.skipped:
            self._clear(timeline, guarded)
        if decision.checkpoint is not None and os.path.dirname(decision.checkpoint) == PINNED:
            name = os.path.basename(decision.checkpoint)
            put_back(self.run, name)
            self._emit(CheckpointPutBack(name))
            return decision.step or 0, name
        return decision.step or 0, decision.checkpoint

    def _consulted(self) -> Guarded:
        """Ask the guard for a checkpoint from which training goes on bit for bit; only where there is none, for any.

        A save of several processes that was cut off may lack the random numbers of one of them: it would do, but then the
        end would not be that of a training which was never interrupted.
        """
        exact = consult(self.run, self.limits._replace(exact=True), self.options, registry=self._registry)
        if self.limits.exact or exact.decision.refusal is None or not exact.decision.skipped:
            return exact
        any_other = consult(self.run, self.limits, self.options, registry=self._registry)
        if any_other.decision.checkpoint is None:
            return any_other
        reasons = {item.checkpoint: item.reason for item in exact.decision.skipped}
        name = any_other.decision.checkpoint
        self._emit(Note(f"{name}: goes on, but not bit for bit: {reasons.get(name)}"))
        return any_other

    def check_way(self, step: int) -> None:
        """Raise TrainRefused where a link, or anything else that is no directory, lies where a checkpoint will be saved.

        The guard passes over links, but a trainer would save through them, wherever they lead.
        """
        try:
            with os.scandir(self.run) as entries:
                there = [(item.path, item.is_symlink()) for item in entries if _in_the_way(item, step)]
        except OSError as error:
            raise AuditError(f"{self.run}: cannot be listed: {error.strerror or error}") from error
        for path, link in there:
            kind = "a link" if link else "no directory"
            raise TrainRefused(f"{path}: is {kind}, and training on from step {step} may save there; move it away")

    def _clear(self, timeline: Timeline, guarded: Guarded) -> None:
        """Move broken checkpoints out of the way of what will be trained anew, or the trainer would write into them."""
        self.clear_torn(timeline, guarded.decision.step or 0)
        run = self.opened()
        reasons = {item.checkpoint: item.reason for item in guarded.decision.skipped}
        candidates = [Candidate(item, reasons[item.name]) for item in run.checkpoints if item.name in reasons]
        if candidates:
            with self._batch_log.ledger() as ledger:
                for held in isolate(run, candidates, ledger):
                    self._emit(CheckpointQuarantined(held.name, held.place, held.reason))

    def clear_torn(self, timeline: Timeline, step: int) -> bool:
        """Throw away what a leg of ours did not save to its end, beyond ``step``; return whether there was something.

        There is nothing in it that could be missed: no resume could have used it, and a disk may be full of it. A
        checkpoint that a verification has once seen whole is another matter.
        """
        torn = self.torn(timeline, step)
        for item in torn:
            _throw_away(self.run, item.name)
            self._emit(CheckpointTorn(item.name))
        return bool(torn)

    def give_up(self, step: int) -> None:
        """Throw away every checkpoint beyond ``step``: nobody can know what it was trained on."""
        for item in self.opened().checkpoints:
            if item.step > step:
                _throw_away(self.run, item.name)

    def torn(self, timeline: Timeline, step: int) -> list[Checkpoint]:
        """Return the checkpoints beyond ``step`` that a leg of ours did not save to their end."""
        run = self.opened()
        return [
            item
            for item in run.checkpoints
            if item.step > max(step, run.records.highest_reached)
            and not item.complete
            and any(leg.first_step < item.step for leg in timeline.legs)
        ]

    def finish_rotation(self, step: int) -> None:
        """Delete what the trainer would have deleted after the save of ``step``, but for the kill that came between.

        It would do so at its next save, which may be long in coming. Trainer 5.23, ``rotate_checkpoints``: the oldest
        ones beyond ``save_total_limit``, never the newest or the best. Call it once the checkpoint of ``step`` is proven.
        """
        run = self.opened()
        newest = next((item for item in run.checkpoints if item.step == step), None)
        limit = run.optional("save_total_limit")
        if newest is None or not limit:
            return
        older = [item.name for item in run.checkpoints if item.step < step and item.name != newest.best_recorded]
        kept = len(run.checkpoints) - len(older)
        for name in older[: max(0, len(older) - max(0, limit - kept))]:
            _throw_away(self.run, name)
            self._emit(CheckpointRotated(name))

    def opened(self) -> Run:
        """Open the run, for its structure alone."""
        return Auditor(self.options, self._registry).open_quick(self.run)

    def verify(self, step: int) -> Verified:
        """Verify the run, seal what is proven, and say whether the checkpoint of ``step`` is. Raises AuditError."""
        run, report = verify_run(self.run, self.options._replace(allow_empty=True), registry=self._registry)
        if report.crashed:
            raise AuditError(f"rule {report.crashed[0].rule} crashed: {report.crashed[0].reason}; please report this")
        for note in report.notes:
            self._emit(Note(note))
        return Verified(run, report, step, self._why_not_proven(report, step))

    def _why_not_proven(self, report: Report, step: int) -> str | None:
        checkpoint = next((item for item in report.checkpoints if item.step == step), None)
        if checkpoint is None:
            return f"there is no checkpoint of step {step}"
        for item in report.findings:
            mine = item.checkpoint == checkpoint.name
            new = item.checkpoint is None and (item.rule, item.file) not in self._known
            if item.severity is Severity.ERROR and (mine or new):
                return f"{item.message} ({item.rule})"
        if not checkpoint.resumable:
            return f"{checkpoint.name} is not resumable"
        return None if checkpoint.sealed else f"it was not sealed{f'; {report.notes[-1]}' if report.notes else ''}"


def _in_the_way(entry: "os.DirEntry[str]", step: int) -> bool:
    found = step_written_to(entry.name)
    return found is not None and found > step and not entry.is_dir(follow_symlinks=False)


def _of_run(report: Report) -> frozenset[tuple[str, str | None]]:
    """The findings against the run as a whole, as they were before."""
    return frozenset((item.rule, item.file) for item in report.findings if item.checkpoint is None)


def _throw_away(run: str, checkpoint: str) -> None:
    """Rename first: a checkpoint that is half deleted must not be taken for one."""
    path = os.path.join(run, checkpoint)
    try:
        os.rename(path, place_for(run, checkpoint))
    except OSError as error:
        raise AuditError(f"{path}: cannot be removed: {error.strerror or error}") from error
    empty(run)
