"""The state of a run: what training can resume from, what is in its way, and whether a step is proven."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from audit.audit_dir import PINNED
from audit.backend.names import step_written_to
from audit.backend.training import Note
from audit.errors import AuditError
from audit.facts.checkpoint import Checkpoint
from audit.facts.run import Run
from audit.facts.series import series
from audit.findings import Finding, Severity
from audit.judging.auditor import Auditor
from audit.judging.decision import Limits
from audit.judging.guard import Guarded, consult
from audit.judging.verification import verify_run
from audit.ledger.batch_events import Known
from audit.ledger.timeline import Timeline
from audit.manager import Registry
from audit.options import Options
from audit.report import CheckpointSummary, Report
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
    """A verification after a leg. ``problem``: why the checkpoint of ``step`` is not proven, None if it is.

    ``against``: the findings that keep it from being proven; ``accepted``: those that a person has accepted.
    """

    run: Run
    report: Report
    step: int
    problem: str | None
    against: tuple[Finding, ...] = ()
    accepted: tuple[Finding, ...] = ()

    @property
    def checkpoint(self) -> str | None:
        """The name of the checkpoint of ``step``, None if there is none."""
        return next((item.name for item in self.report.checkpoints if item.step == self.step), None)

    @property
    def best(self) -> str | None:
        """The name of the best checkpoint that the trainer has recorded and that is there, None if there is none."""
        newest = next((item for item in self.run.checkpoints if item.step == self.step), None)
        best = newest.best_recorded if newest is not None else None
        return best if any(item.name == best for item in self.run.checkpoints) else None

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
        # A training makes its run's directory.
        self.run, self.options, self.limits = run, options, limits._replace(allow_missing=True)
        self._registry, self._batch_log, self._emit = registry, batch_log, emit
        self.ways_on: Callable[[Timeline], str] = lambda timeline: "--allow-fresh starts over at step 0"
        """What can be done where there is nothing to resume from."""
        self.known: tuple[Known, ...] = ()
        """The errors that the guard saw in the run as a whole, or at a place in its log."""

    def guard(self, timeline: Timeline) -> tuple[int, str | None]:
        """Return the step to resume from and its checkpoint, None for a fresh start; move broken checkpoints aside."""
        guarded = self._consulted()
        if guarded.report.crashed:  # our own fault is no reason to discard steps that were trained
            crash = guarded.report.crashed[0]
            raise AuditError(f"rule {crash.rule} crashed, so nothing is trained: {crash.reason}; please report this")
        self.known = tuple(sorted(_known_in(guarded.report), key=str))
        decision = guarded.decision
        if decision.refusal is not None and self.clear_torn(timeline, 0):
            return self.guard(timeline)
        if decision.refusal is not None:
            for item in decision.skipped:
                self._emit(CheckpointSkipped(item.checkpoint, item.reason))
            ways = f"; {self.ways_on(timeline)}" if decision.dead_end else ""
            raise TrainRefused(f"{self.run}: {decision.refusal}{ways}")
        if decision.skipped:
            self._clear(timeline, guarded)
        if decision.checkpoint is not None and os.path.dirname(decision.checkpoint) == PINNED:
            name = os.path.basename(decision.checkpoint)
            put_back(self.run, name)
            self._emit(CheckpointPutBack(name))
            return decision.step or 0, name
        return decision.step or 0, decision.checkpoint

    def _consulted(self) -> Guarded:
        """Ask the guard for a checkpoint that resumes bit for bit; for any other only if there is none.

        An interrupted save of several processes may lack the random state of one of them: it can be resumed from, but
        the weights would not be those of an uninterrupted training.
        """
        exact = consult(self.run, self.limits._replace(exact=True), self.options, registry=self._registry)
        if self.limits.exact or exact.decision.refusal is None or not exact.decision.skipped:
            return exact
        any_other = consult(self.run, self.limits, self.options, registry=self._registry)
        if any_other.decision.checkpoint is None:
            return any_other
        reasons = {item.checkpoint: item.reason for item in exact.decision.skipped}
        name = any_other.decision.checkpoint
        self._emit(Note(f"{name}: resumes, but not bit for bit: {reasons.get(name)}"))
        return any_other

    def check_way(self, step: int) -> None:
        """Raise TrainRefused if a link, or anything else but a directory, is where a checkpoint will be saved.

        The guard ignores links, but a trainer would save through them, wherever they lead.
        """
        try:
            with os.scandir(self.run) as entries:
                there = [(item.path, item.is_symlink()) for item in entries if _in_the_way(item, step)]
        except OSError as error:
            raise AuditError(f"{self.run}: cannot be listed: {error.strerror or error}") from error
        for path, link in there:
            kind = "a link" if link else "not a directory"
            raise TrainRefused(f"{path}: is {kind}, and training from step {step} may save there; move it away")

    def _clear(self, timeline: Timeline, guarded: Guarded) -> None:
        """Move broken checkpoints away, or the trainer would write into them."""
        self.clear_torn(timeline, guarded.decision.step or 0)
        run = self.opened()
        reasons = {item.checkpoint: item.reason for item in guarded.decision.skipped}
        candidates = [Candidate(item, reasons[item.name]) for item in run.checkpoints if item.name in reasons]
        if candidates:
            with self._batch_log.ledger() as ledger:
                for held in isolate(run, candidates, ledger):
                    self._emit(CheckpointQuarantined(held.name, held.place, held.reason))

    def clear_torn(self, timeline: Timeline, step: int) -> bool:
        """Remove incomplete checkpoints of our legs beyond ``step``; return whether there were any.

        Nothing is lost with them: they cannot be resumed from, and they may fill the disk. A checkpoint that a
        verification has seen complete is kept.
        """
        torn = self.torn(timeline, step)
        for item in torn:
            _remove(self.run, item.name)
            self._emit(CheckpointTorn(item.name))
        return bool(torn)

    def give_up(self, step: int) -> None:
        """Remove every checkpoint beyond ``step``: it is unknown what it was trained on."""
        for item in self.opened().checkpoints:
            if item.step > step:
                _remove(self.run, item.name)

    def torn(self, timeline: Timeline, step: int) -> list[Checkpoint]:
        """Return the incomplete checkpoints of our legs beyond ``step``."""
        run = self.opened()
        return [
            item
            for item in run.checkpoints
            if item.step > max(step, run.records.highest_reached)
            and not item.complete
            and any(leg.first_step < item.step for leg in timeline.legs)
        ]

    def finish_rotation(self, step: int) -> None:
        """Delete what the trainer would have deleted after the save of ``step`` if it had not been killed.

        It would do so at its next save, which may be much later. Trainer 5.23, ``rotate_checkpoints``: the oldest ones
        beyond ``save_total_limit``, never the newest or the best. Call it once the checkpoint of ``step`` is proven.
        """
        run = self.opened()
        newest = next((item for item in run.checkpoints if item.step == step), None)
        limit = run.optional("save_total_limit")
        if newest is None or not limit:
            return
        older = [item.name for item in run.checkpoints if item.step < step and item.name != newest.best_recorded]
        kept = len(run.checkpoints) - len(older)
        for name in older[: max(0, len(older) - max(0, limit - kept))]:
            _remove(self.run, name)
            self._emit(CheckpointRotated(name))

    def opened(self) -> Run:
        """Open the run, for its structure alone."""
        return Auditor(self.options, self._registry).open_quick(self.run)

    def verify(self, step: int, begun: int, known: Iterable[Known]) -> Verified:
        """Verify the run, seal what is proven, and report on the checkpoint of ``step``. Raises AuditError.

        Errors that the batch, which began after ``begun``, has brought count against it, in whichever call they are
        seen: all but those ``known`` before its first step.
        """
        run, report = verify_run(self.run, self.options._replace(allow_empty=True), registry=self._registry)
        if report.crashed:
            raise AuditError(f"rule {report.crashed[0].rule} crashed: {report.crashed[0].reason}; please report this")
        for note in report.notes:
            self._emit(Note(note))
        checkpoint = next((item for item in report.checkpoints if item.step == step), None)
        if checkpoint is None:
            return Verified(run, report, step, f"there is no checkpoint of step {step}")
        found = list(_brought(report, checkpoint.name, begun, step, frozenset(known)))
        against = tuple(item for item in found if item.accepted is None)
        accepted = tuple(item for item in found if item.accepted is not None)
        return Verified(run, report, step, _why_not_proven(report, checkpoint, against), against, accepted)


def _why_not_proven(report: Report, checkpoint: CheckpointSummary, against: tuple[Finding, ...]) -> str | None:
    if against:
        return f"{against[0].message} ({against[0].rule})"
    if not checkpoint.resumable:
        return f"{checkpoint.name} is not resumable"
    if not checkpoint.judged:
        return f"{checkpoint.name} is not judged: a resume reads files of it that are not read here (files/not-judged)"
    return None if checkpoint.sealed else f"it was not sealed{f'; {report.notes[-1]}' if report.notes else ''}"


def _in_the_way(entry: "os.DirEntry[str]", step: int) -> bool:
    found = step_written_to(entry.name)
    return found is not None and found > step and not entry.is_dir(follow_symlinks=False)


def _known_in(report: Report) -> set[Known]:
    """Return the errors on the run as a whole, and those at a place in its log."""
    errors = (item for item in report.findings if item.severity is Severity.ERROR)
    return {_key(item) for item in errors if item.checkpoint is None or item.step is not None}


def _brought(report: Report, checkpoint: str, begun: int, step: int, known: frozenset[Known]) -> Iterator[Finding]:
    """Yield the errors that count against a batch: of its last checkpoint, of the run, and of its part of the log."""
    for item in report.findings:
        if item.severity is not Severity.ERROR:
            continue
        of_log = item.step is not None and begun <= item.step <= step
        if item.checkpoint == checkpoint or ((item.checkpoint is None or of_log) and _key(item) not in known):
            yield item


def _key(finding: Finding) -> Known:
    return finding.rule, finding.file, finding.step


def _remove(run: str, checkpoint: str) -> None:
    """Rename, then delete: a partly deleted checkpoint must not be taken for one."""
    path = os.path.join(run, checkpoint)
    try:
        os.rename(path, place_for(run, checkpoint))
    except OSError as error:
        raise AuditError(f"{path}: cannot be removed: {error.strerror or error}") from error
    empty(run)
