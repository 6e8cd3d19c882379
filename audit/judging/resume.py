"""Which checkpoint may be resumed from, given the findings."""

from collections.abc import Iterable, Sequence

from audit.facts.checkpoint import Checkpoint
from audit.facts.completeness import CheckpointState
from audit.facts.run import Run
from audit.findings import Finding, Severity
from audit.report import Report


def resumable(checkpoint: Checkpoint, findings: Sequence[Finding]) -> bool:
    """No finding that blocks resuming stands against the checkpoint, or against the run as a whole."""
    return checkpoint.complete and not any(
        finding.blocks_resume and finding.checkpoint in (checkpoint.name, None) for finding in findings
    )


def fault(checkpoint: Checkpoint, findings: Sequence[Finding]) -> str | None:
    """Return why a checkpoint by itself cannot be resumed from, None if it can, is being written, or is unknown."""
    found = checkpoint.optional("completeness")
    incomplete = found is not None and found.state is CheckpointState.INCOMPLETE
    return _worst(checkpoint.name, findings) or ("was not written to its end" if incomplete else None)


def why_not(checkpoint: Checkpoint, findings: Sequence[Finding], lineage: Sequence[Checkpoint], run: Run) -> str | None:
    """Return why a checkpoint of ``run`` is not handed out, None if it may be; ``lineage`` is the one that goes on."""
    if not resumable(checkpoint, findings):
        return _worst(checkpoint.name, findings) or _worst(None, findings) or "was not written to its end"
    if run.lineages and checkpoint not in lineage:
        return "belongs to another history in the same directory, or its history cannot be read (history/forked)"
    return None


def _worst(checkpoint: str | None, findings: Sequence[Finding]) -> str | None:
    """The worst finding against one checkpoint, None: against the run as a whole, that blocks resuming."""
    own = [item for item in findings if item.checkpoint == checkpoint and item.blocks_resume]
    worst = max(own, key=lambda item: item.severity.rank, default=None)
    return f"{worst.message} ({worst.rule})" if worst is not None else None


def newest_lineage(run: Run, findings: Sequence[Finding]) -> tuple[Checkpoint, ...] | None:
    """The lineage that was written last, or None where the files do not say which that is.

    A lineage without a resumable checkpoint is none to choose. With one left there is no question. With several, the
    one whose newest trainer state is younger than all others' by more than a second; a copied tree has no such order,
    and a guess could continue the wrong run.
    """
    lineages = [group for group in run.lineages if any(resumable(item, findings) for item in group)]
    if len(lineages) <= 1:
        return lineages[0] if lineages else ()
    state_file = run.backend.state_file
    times = sorted(
        ((max(item.entries[state_file].mtime_ns for item in lineage), lineage) for lineage in lineages),
        key=lambda pair: pair[0],
    )
    if times[-1][0] - times[-2][0] <= 1_000_000_000:
        return None
    return times[-1][1]


def resume_from(run: Run, findings: Sequence[Finding]) -> str | None:
    """Name of the newest resumable checkpoint of the newest unambiguous lineage, or None."""
    lineage = newest_lineage(run, findings)
    if lineage is None:
        return None
    for checkpoint in reversed(run.judged):
        if resumable(checkpoint, findings) and (checkpoint in lineage or not run.lineages):
            return checkpoint.name
    return None


def crashes(report: Report) -> tuple[Finding, ...]:
    """Return a finding that blocks for every rule that crashed: what it was to judge is not known to be resumable.

    One over the whole run blocks every checkpoint. The fault is ours, so the message says what to send.
    """
    return tuple(
        Finding(
            item.rule,
            Severity.ERROR,
            item.checkpoint,
            None,
            f"a rule of checkpoint-audit crashed on it ({item.reason}); please report this, with the output of "
            "audit verify --format json",
            None,
            None,
            "Resume from another checkpoint until the rule is repaired.",
            blocks_resume=True,
        )
        for item in report.crashed
    )


def provable(checkpoints: Iterable[Checkpoint], report: Report) -> list[Checkpoint]:
    """Return those that a full-depth verification proved.

    They are resumable, without an error and without a crashed rule, and all that a resume reads of them was read.
    """
    unknown = {item.checkpoint for item in report.crashed}
    faulty = {item.checkpoint for item in report.findings if item.severity is Severity.ERROR}
    return [
        item
        for item in checkpoints
        if None not in unknown
        and item.name not in unknown | faulty
        and resumable(item, report.findings)
        and not item.optional("unread")
    ]
