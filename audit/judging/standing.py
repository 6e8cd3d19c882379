"""The one word for a checkpoint, given a report: what list, show, best and the page of a run say of it."""

from collections.abc import Sequence
from typing import NamedTuple

from audit.facts.checkpoint import Checkpoint
from audit.facts.completeness import CheckpointState
from audit.findings import ACCEPTED, Severity
from audit.judging.resume import resumable
from audit.ledger.scans import read_since
from audit.ledger.seals import Seal, seal_digest
from audit.report import RESUMABLE, Report
from audit.storage import FILE, Entry

SEALED, WEIGHTS_ONLY, BROKEN = "sealed", "weights only", "broken"
UNREADABLE, UNKNOWN, NOT_JUDGED = "unreadable", "unknown", "not judged"
WEIGHTS_ONLY_RULE = "files/weights-only"


class Standing(NamedTuple):
    """What is known of a checkpoint; ``reason`` names the rules that block it, or says what else was found.

    ``state``: "sealed" (proven at full depth, and no file was touched since it was last read), "resumable" (the report
    has nothing that blocks it), "not judged" (the same, but not all that a resume reads was read), "weights only",
    "broken", "unreadable", "unknown" (a rule crashed), or that of its completeness: "in progress", "being deleted",
    "incomplete". ``by_structure``: it rests on the structure of the files alone, see :func:`rests_on_structure`.
    """

    state: str
    reason: str = ""
    by_structure: bool = False


def rests_on_structure(checkpoint: Checkpoint) -> bool:
    """Whether what is said of a checkpoint rests on the structure of its files alone.

    Not at full depth, nor if all its bytes were read before and no file was touched since: it is sealed, or was found
    broken then.
    """
    if checkpoint.run.depth == "full" or checkpoint.name in checkpoint.run.found_blocked:
        return False
    seal = checkpoint.optional("seal")
    return seal is None or not _as_sealed(checkpoint, seal)


def standing(checkpoint: Checkpoint, report: Report) -> Standing:
    """Say what a checkpoint is called, given the report of a verification of any depth."""
    return _called(checkpoint, report)._replace(by_structure=rests_on_structure(checkpoint))


def _called(checkpoint: Checkpoint, report: Report) -> Standing:
    completeness = checkpoint.optional("completeness")
    if completeness is None:
        return Standing(UNREADABLE, "the directory cannot be listed")
    if completeness.state is not CheckpointState.COMPLETE:
        return Standing(completeness.state.value, completeness.reason)
    if not resumable(checkpoint, report.findings):
        blocking = dict.fromkeys(
            item.rule for item in report.findings if item.blocks_resume and item.checkpoint in (checkpoint.name, None)
        )
        if list(blocking) == [WEIGHTS_ONLY_RULE]:
            return Standing(WEIGHTS_ONLY)
        return Standing(BROKEN, ", ".join(blocking))
    crashed = [item.rule for item in report.crashed if item.checkpoint in (checkpoint.name, None)]
    if crashed:
        return Standing(UNKNOWN, f"rule {crashed[0]} crashed")
    if unread := checkpoint.unread_in_words:
        return Standing(NOT_JUDGED, unread)
    but = _but(checkpoint, report)
    seal = checkpoint.optional("seal")
    if seal is None:
        just_now = any(item.sealed for item in report.checkpoints if item.name == checkpoint.name)
        return Standing(SEALED if just_now else RESUMABLE, but)
    if not _as_sealed(checkpoint, seal):
        return Standing(RESUMABLE, "; ".join(filter(None, ("sealed, but touched since", but))))
    return Standing(SEALED, but)


def rehearsed(checkpoint: Checkpoint, found: Standing) -> bool | None:
    """Return whether a rehearsal of the checkpoint, as it is now, was the same; None if there was none."""
    event = checkpoint.run.records.rehearsed.get(checkpoint.name)
    seal = checkpoint.optional("seal")
    if event is None or seal is None or found.state != SEALED or seal_digest(seal) != event.seal:
        return None
    return event.same


REHEARSED = {True: "rehearsed", False: "rehearsal differs", None: ""}
"""What is said of it, in words."""


def _but(checkpoint: Checkpoint, report: Report) -> str:
    """What is wrong with a checkpoint that can be resumed from: ``1 error: learning-rate/rose-again``."""
    own = [item for item in report.findings if item.checkpoint == checkpoint.name]
    errors = [item.rule for item in own if item.accepted is None and item.severity is Severity.ERROR]
    accepted = [item.rule for item in own if item.accepted is not None]
    texts = [f"{len(errors)} error{'s' if len(errors) > 1 else ''}: {_rules(errors)}"] if errors else []
    return "; ".join([*texts, *([f"{len(accepted)} {ACCEPTED}: {_rules(accepted)}"] if accepted else [])])


def _rules(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _as_sealed(checkpoint: Checkpoint, seal: Seal) -> bool:
    """Whether every file is older than the seal, or was read anew since it was touched (a copy has new times)."""
    return all(
        path in seal.files and _is_sealed_file(checkpoint, path, entry, seal)
        for path, entry in checkpoint.entries.items()
        if entry.kind == FILE and (entry.version is not None or entry.mtime_ns > seal.newest)
    )


def _is_sealed_file(checkpoint: Checkpoint, path: str, entry: Entry, seal: Seal) -> bool:
    sealed = seal.files[path]
    if checkpoint.run.depth == "full":  # it was read just now
        scan = (checkpoint.optional("scan") or {}).get(path)
        return scan is not None and not scan.error and (scan.size, scan.digest) == (sealed.size, sealed.digest)
    return read_since(entry, sealed, checkpoint.run.records.scans.get((checkpoint.name, path)))
