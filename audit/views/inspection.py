"""A run for people who look at it: its checkpoints as the files and the ledger show them, judged by structure alone.

Commands that show or choose checkpoints (``list``, ``show``, ``best``, ``export``) read no weights; they say what a
quick verification says, and where an earlier one at full depth has sealed a checkpoint. Nothing is recorded.
"""

from collections.abc import Mapping
from typing import NamedTuple

from audit.errors import AuditError
from audit.facts.checkpoint import Checkpoint
from audit.facts.completeness import CheckpointState
from audit.facts.run import Run, locate
from audit.judging.auditor import Auditor
from audit.judging.resume import resumable
from audit.ledger.records import read_records
from audit.ledger.scans import read_since
from audit.ledger.seals import Seal
from audit.manager import Registry
from audit.options import Options
from audit.report import Report
from audit.storage import FILE
from audit.views.summary import Overview, overview

SEALED, RESUMABLE, WEIGHTS_ONLY, BROKEN = "sealed", "resumable", "weights only", "broken"
UNREADABLE, UNKNOWN = "unreadable", "unknown"
WEIGHTS_ONLY_RULE = "files/weights-only"


class Standing(NamedTuple):
    """What is known of a checkpoint without reading its weights; ``reason`` names the rules that stand against it.

    ``state``: "sealed" (proven at full depth, and no file was touched since it was last read), "resumable" (nothing in
    its structure speaks against it), "weights only", "broken", "unreadable", "unknown" (a rule crashed), or that of its
    completeness: "in progress", "being deleted", "incomplete".
    """

    state: str
    reason: str = ""


class Inspection(NamedTuple):
    """A run, the judgement at quick depth, and the standing of every judged checkpoint by name."""

    run: Run
    report: Report
    standings: Mapping[str, Standing]

    def overview(self, checkpoint: Checkpoint) -> Overview:
        """One line about a checkpoint, its standing included."""
        standing = self.standings[checkpoint.name]
        line = overview(checkpoint)
        return line._replace(state=standing.state, reason=standing.reason)


def inspect(path: str, options: Options | None = None, *, registry: Registry | None = None) -> Inspection:
    """Open a run, or one checkpoint of it, and judge it by its structure. Raises AuditError: no run, no checkpoint."""
    chosen = (options or Options())._replace(depth="quick", ledger=False, allow_empty=True)
    records, _ = read_records(locate(path)[0], write=False)
    run, report = Auditor(chosen, registry).judge(path, records)
    if not run.judged:
        raise AuditError(f"{path}: no checkpoint-N directory in it")
    return Inspection(run, report, {item.name: standing(item, report) for item in run.judged})


def standing(checkpoint: Checkpoint, report: Report) -> Standing:
    """Say how a checkpoint stands, given the report of a quick verification."""
    findings = report.findings
    completeness = checkpoint.optional("completeness")
    if completeness is None:
        return Standing(UNREADABLE, "the directory cannot be listed")
    if completeness.state is not CheckpointState.COMPLETE:
        return Standing(completeness.state, completeness.reason)
    if not resumable(checkpoint, findings):
        blocking = dict.fromkeys(
            item.rule for item in findings if item.blocks_resume and item.checkpoint in (checkpoint.name, None)
        )
        if list(blocking) == [WEIGHTS_ONLY_RULE]:
            return Standing(WEIGHTS_ONLY)
        return Standing(BROKEN, ", ".join(blocking))
    crashed = [item.rule for item in report.crashed if item.checkpoint in (checkpoint.name, None)]
    if crashed:
        return Standing(UNKNOWN, f"rule {crashed[0]} crashed")
    seal = checkpoint.optional("seal")
    if seal is None:
        return Standing(RESUMABLE)
    if not _as_sealed(checkpoint, seal):
        return Standing(RESUMABLE, "sealed, but touched since")
    return Standing(SEALED)


def _as_sealed(checkpoint: Checkpoint, seal: Seal) -> bool:
    """Whether every file is older than the seal, or was read anew since it was touched (a copy has new times)."""
    scans = checkpoint.run.records.scans
    return all(
        path in seal.files and read_since(entry, seal.files[path], scans.get((checkpoint.name, path)))
        for path, entry in checkpoint.entries.items()
        if entry.kind == FILE and entry.mtime_ns > seal.newest
    )
