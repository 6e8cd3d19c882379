"""The guard: hand out the newest checkpoint that is really resumable, or refuse.

It never falls through to step 0: where checkpoints or the ledger show progress and nothing is resumable, it refuses.
"""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from audit.audit_dir import PINNED, QUARANTINE
from audit.backend.names import is_left_by_save, is_trace
from audit.errors import AuditError
from audit.findings import Finding
from audit.report import Report

if TYPE_CHECKING:
    from audit.facts.checkpoint import Checkpoint
    from audit.facts.run import Run
    from audit.facts.traces import Trace
    from audit.judging.resume import Findings
    from audit.ledger.records import Records


class Skipped(NamedTuple):
    """A checkpoint that was not handed out, and why, in words."""

    checkpoint: str
    reason: str


class Decision(NamedTuple):
    """What the guard decided.

    ``checkpoint`` is the name to resume from; without one, ``fresh`` says that training may start at step 0 and
    ``refusal`` says why nothing is handed out. ``behind``: steps that were reached before and are given up.
    ``unread``: what a resume from it reads and was not read, in words; empty if it is judged. ``dead_end``: refused
    because there is nothing to resume from, so that only ``allow_fresh`` or another checkpoint helps. ``misnamed``:
    because the directory is no run, and holds others.
    """

    checkpoint: str | None
    step: int | None
    fresh: bool
    refusal: str | None
    skipped: tuple[Skipped, ...]
    behind: int = 0
    unread: str = ""
    dead_end: bool = False
    misnamed: bool = False


MAX_AGE_DAYS = 7.0
"""A checkpoint is not handed out on the word of digests that were taken longer ago than this."""


class Limits(NamedTuple):
    """What the user asks of the guard.

    ``strict``: the newest checkpoint or none. ``max_rollback``: at most so many steps behind the newest one or behind
    what the ledger saw. ``allow_fresh``: if nothing is resumable, start over. ``lineage``: the name of a checkpoint
    that says which of several histories is meant. ``exact``: only a checkpoint from which training goes on bit for bit,
    so that findings block which otherwise only warn of that (:attr:`audit.rules.Rule.breaks_exactness`).
    ``max_age_days``: every byte of what is handed out was read within so many days, or is read now; None: never again.
    ``allow_missing``: a run that is not there is a fresh start; otherwise it may be mistyped or not mounted.
    """

    strict: bool = False
    max_rollback: int | None = None
    allow_fresh: bool = False
    lineage: str | None = None
    exact: bool = False
    max_age_days: float | None = MAX_AGE_DAYS
    allow_missing: bool = False


def decide(run: "Run", findings: Sequence[Finding], limits: Limits) -> Decision:
    """Choose from the newest to the oldest.

    A run without any trace of training is a fresh start; a checkpoint that is being written right now is passed over.
    """
    if not run.checkpoints:
        trace = _trace(run)
        if trace is None:
            return Decision(None, None, True, None, ())
        text = trace if isinstance(trace, str) else f"there is no checkpoint-N here, but {trace}"
        refused = _refused(text, (), limits, run.records.highest_reached)
        if isinstance(trace, str):
            return refused
        # What was found says itself what to do about it.
        return refused._replace(dead_end=False, misnamed=refused.dead_end and trace.holds_runs)
    if run.foreign is not None:
        return _refused(run.foreign, (), limits, run.records.highest_reached)._replace(dead_end=False)
    from audit.judging.resume import against, why_not

    found = against(findings)
    lineage = _lineage(run, found, limits)
    if lineage is None:
        return Decision(
            None,
            None,
            False,
            f"{len(run.lineages)} histories are mixed here and nothing says which is the newest; "
            "name a checkpoint of the one you mean with --lineage",
            (),
        )
    if limits.strict and (problem := run.records.edited or run.records.lost):
        return Decision(None, None, False, f"{problem}; --strict does not go by an edited history", ())
    progress = max(
        [run.records.highest_reached, *(item.step for item in run.checkpoints if _counts(item, lineage, run))]
    )
    skipped: list[Skipped] = []
    passed: list[Skipped] = []
    for checkpoint in reversed(run.checkpoints):
        reason = why_not(checkpoint, found, lineage, run)
        if reason is None:
            return _handed_out(checkpoint, skipped, passed, progress, limits)
        skipped.append(Skipped(checkpoint.name, reason))
        if _settled(checkpoint):
            passed.append(skipped[-1])
    return _refused("no checkpoint can be resumed from", tuple(skipped), limits, progress)


def _trace(run: "Run") -> "str | Trace | None":
    """Say what shows that something was trained in a run without checkpoints, None if nothing does."""
    if run.records.highest_reached:
        return f"the ledger records step {run.records.highest_reached}, but there is no checkpoint any more"
    if run.records.unusable or run.records.edited:
        return f"there is no checkpoint, and the ledger cannot say whether there was one ({run.records.unusable or run.records.edited})"
    left = sorted(name for name in run.entries if is_left_by_save(name))
    if left:
        return f"there is no checkpoint that a resume would find, but {left[0]} was left by a training"
    if _quarantined(run):
        return f"every checkpoint is in quarantine; see audit quarantine {run.path} --list"
    from audit.facts.traces import trace_in

    return trace_in(run.storage)


def _quarantined(run: "Run") -> bool:
    try:
        return any(is_trace(entry.name) for entry in run.storage.list(QUARANTINE))
    except OSError:
        return False


def _lineage(run: "Run", findings: "Findings", limits: Limits) -> "tuple[Checkpoint, ...] | None":
    if limits.lineage is None:
        from audit.judging.resume import newest_lineage

        return newest_lineage(run, findings)
    for lineage in run.lineages:
        if any(checkpoint.name == limits.lineage for checkpoint in lineage):
            return lineage
    raise AuditError(f"--lineage {limits.lineage}: {run.path} has no checkpoint of that name with a readable history")


def _counts(checkpoint: "Checkpoint", lineage: "Sequence[Checkpoint]", run: "Run") -> bool:
    """Whether a step was reached, in this history: not by a save that goes on, nor by another run in the directory."""
    home = run.lineage_of(checkpoint)
    return _settled(checkpoint) and (not home or home is lineage)


def _settled(checkpoint: "Checkpoint") -> bool:
    found = checkpoint.optional("completeness")
    return found is None or not found.state.moving


def _handed_out(
    checkpoint: "Checkpoint", skipped: list[Skipped], passed: list[Skipped], progress: int, limits: Limits
) -> Decision:
    """Hand it out unless the limits forbid it; ``allow_fresh`` does not help, there is something to resume from."""
    behind = max(progress - checkpoint.step, 0)
    refusal = None
    if limits.strict and (passed or behind):
        reason = passed[0].reason if passed else f"step {progress} was reached before"
        refusal = f"the newest checkpoint is not resumable: {reason}"
    elif limits.max_rollback is not None and behind > limits.max_rollback:
        refusal = f"{checkpoint.name} is {behind} steps behind step {progress}, more than --max-rollback {limits.max_rollback}"
    if refusal is not None:
        return Decision(None, None, False, refusal, tuple(skipped))
    unread = checkpoint.unread_in_words
    return Decision(checkpoint.name, checkpoint.step, False, None, tuple(skipped), behind, unread)


def _refused(reason: str, skipped: tuple[Skipped, ...], limits: Limits, progress: int) -> Decision:
    if limits.allow_fresh:
        return Decision(None, None, True, None, skipped, progress)
    return Decision(None, None, False, reason, skipped, dead_end=True)


def notes_on(decision: Decision) -> Iterator[str]:
    """What the user should know about the checkpoint that is handed out."""
    if decision.checkpoint is not None and os.path.dirname(decision.checkpoint) == PINNED:
        yield f"using the pinned copy of {os.path.basename(decision.checkpoint)}"
    if decision.unread:
        yield f"{os.path.basename(decision.checkpoint or '')} is not judged: {decision.unread}; it is not proven"
    if decision.behind:
        yield rollback(decision)


def newer_elsewhere(path: str, records: "Records", step: int) -> str | None:
    """Name the newest checkpoint beyond ``step`` that was removed on purpose, and how to bring it back."""
    name, (newest, repo) = max(records.elsewhere.items(), key=lambda item: item[1][0], default=("", (0, "")))
    if newest <= step:
        return None
    newer = ", which is newer," if step else ""
    return (
        f"{name}{newer} was deleted here once it was proven in {repo}; to bring it back: audit hub pull {repo} {path} "
        f"--checkpoint {newest}"
    )


def rollback(decision: Decision) -> str:
    """Return how far a resume goes back: ``rolls back 20 steps, 60 -> 40``."""
    step = decision.step or 0
    return f"rolls back {decision.behind} step{'s' if decision.behind != 1 else ''}, {step + decision.behind} -> {step}"


class ResumeRefused(Exception):
    """Nothing may be resumed from. ``report`` is the whole judgement, ``decision`` says what was skipped and why."""

    def __init__(self, message: str, report: Report, decision: Decision) -> None:
        super().__init__(message)
        self.report = report
        self.decision = decision
