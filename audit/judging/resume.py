"""Which checkpoint may be resumed from, given the findings."""

from collections.abc import Iterable, Sequence

from audit.facts.checkpoint import Checkpoint
from audit.facts.completeness import CheckpointState
from audit.facts.run import Run
from audit.findings import Finding, Severity
from audit.report import Report


class Against:
    """Findings that block resuming, by the checkpoint that they are against (None: all of the run).

    Whoever asks for many checkpoints makes it once: a search through all findings for each would cost their product.
    """

    def __init__(self, findings: Iterable[Finding]) -> None:
        self._blocking: dict[str | None, list[Finding]] = {}
        for finding in findings:
            if finding.blocks_resume:
                self._blocking.setdefault(finding.checkpoint, []).append(finding)

    def blocks(self, checkpoint: str) -> bool:
        """Whether any is against this checkpoint, or against the run as a whole."""
        return checkpoint in self._blocking or None in self._blocking

    def worst(self, checkpoint: str | None) -> str | None:
        """The worst against one checkpoint, None: against the run as a whole; in words."""
        worst = max(self._blocking.get(checkpoint, ()), key=lambda item: item.severity.rank, default=None)
        return f"{worst.message} ({worst.rule})" if worst is not None else None


Findings = Sequence[Finding] | Against


def against(findings: Findings) -> Against:
    """Return findings by what they are against."""
    return findings if isinstance(findings, Against) else Against(findings)


def resumable(checkpoint: Checkpoint, findings: Findings) -> bool:
    """No finding that blocks resuming stands against the checkpoint, or against the run as a whole."""
    return checkpoint.complete and not against(findings).blocks(checkpoint.name)


def fault(checkpoint: Checkpoint, findings: Findings) -> str | None:
    """Return why a checkpoint by itself cannot be resumed from, None if it can, is being written, or is unknown."""
    found = checkpoint.optional("completeness")
    incomplete = found is not None and found.state is CheckpointState.INCOMPLETE
    return against(findings).worst(checkpoint.name) or ("was not written to its end" if incomplete else None)


def why_not(checkpoint: Checkpoint, findings: Findings, lineage: Sequence[Checkpoint], run: Run) -> str | None:
    """Return why a checkpoint of ``run`` is not handed out, None if it may be; ``lineage`` is the one that goes on."""
    found = against(findings)
    if not resumable(checkpoint, found):
        return found.worst(checkpoint.name) or found.worst(None) or "was not written to its end"
    if run.lineages and not is_member(checkpoint, lineage, run):
        return "belongs to another history in the same directory, or its history cannot be read (history/forked)"
    return None


def is_member(checkpoint: Checkpoint, lineage: Sequence[Checkpoint], run: Run) -> bool:
    """Whether a checkpoint is of this lineage of the run, without a search through all of its members."""
    return bool(lineage) and run.lineage_of(checkpoint) is lineage


def newest_lineage(run: Run, findings: Findings) -> tuple[Checkpoint, ...] | None:
    """The lineage that was written last, or None if the files do not say which that is.

    A lineage without a resumable checkpoint is none to choose. With one left there is no question. With several, the
    one whose newest trainer state is younger than all others' by more than a second; a copied or uploaded tree has no
    such order, and a guess could continue the wrong run.
    """
    found = against(findings)
    lineages = [group for group in run.lineages if any(resumable(item, found) for item in group)]
    if len(lineages) <= 1:
        return lineages[0] if lineages else ()
    if not run.clock.by_trainer:
        return None
    state_file = run.backend.state_file
    times = sorted(
        ((max(item.entries[state_file].mtime_ns for item in lineage), lineage) for lineage in lineages),
        key=lambda pair: pair[0],
    )
    if times[-1][0] - times[-2][0] <= 1_000_000_000:
        return None
    return times[-1][1]


def resume_from(run: Run, findings: Findings) -> str | None:
    """Name of the newest resumable checkpoint of the newest unambiguous lineage, or None."""
    found = against(findings)
    lineage = newest_lineage(run, found)
    if lineage is None:
        return None
    for checkpoint in reversed(run.judged):
        if resumable(checkpoint, found) and (not run.lineages or is_member(checkpoint, lineage, run)):
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

    They are resumable, without a crashed rule or an error that nobody has accepted, and all that a resume reads of them
    was read.
    """
    unknown = {item.checkpoint for item in report.crashed}
    faulty = {item.checkpoint for item in report.counting if item.severity is Severity.ERROR}
    found = against(report.findings)
    return [
        item
        for item in checkpoints
        if None not in unknown
        and item.name not in unknown
        and item.name not in faulty
        and resumable(item, found)
        and not item.optional("unread")
    ]
