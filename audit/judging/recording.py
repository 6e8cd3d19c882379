"""Write into the ledger what a verification or the guard found: observations, seals, decisions."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from audit.audit_dir import pinned_names
from audit.errors import AuditError
from audit.findings import Severity
from audit.ledger import events
from audit.ledger.records import Records
from audit.report import Report
from audit.text import utc_time

if TYPE_CHECKING:
    from audit.facts.checkpoint import Checkpoint
    from audit.facts.run import Run
    from audit.judging.decision import Decision
    from audit.ledger.store import Ledger


NOT_RECORDED = "not recorded: "


def record_observation(run: "Run", report: Report, ledger: "Ledger | None", prove: bool = True) -> Report:
    """Add one observation, seal what was proven, and return the report with what came of it.

    Without ``prove`` nothing is sealed: a few selected rules prove nothing.

    A full disk or a ledger that cannot be written changes no verdict: the report then has a note.
    """
    notes = [note for note in (run.records.unwritable,) if note]
    sealed: set[str] = set()
    if ledger is not None and (run.checkpoints or run.records.observed):
        problem = _try(lambda: _record(run, report, ledger, sealed, prove))
        if problem:
            notes.append(NOT_RECORDED + problem)
    checkpoints = tuple(item._replace(sealed=True) if item.name in sealed else item for item in report.checkpoints)
    return report._replace(checkpoints=checkpoints, notes=(*report.notes, *notes))


def record_unchanged(records: Records, report: Report, ledger: "Ledger | None") -> Report:
    """Add one observation of a run that is as it was, and return the report with what came of it."""
    notes = [note for note in (records.unwritable,) if note]
    names = [item.name for item in report.checkpoints]
    if ledger is not None:
        problem = _try(lambda: ledger.append(_observation(report, names, report.latest_step)))
        if problem:
            notes.append(NOT_RECORDED + problem)
    return report._replace(notes=(*report.notes, *notes))


def record_decision(decision: "Decision", records: Records, report: Report, ledger: "Ledger | None") -> Report:
    """Add what the guard handed out: a step that the run may go back to without having lost anything unseen."""
    started_over = decision.fresh and bool(report.checkpoints or records.highest_reached)
    if ledger is None or not (decision.checkpoint or started_over):
        return report
    if any(note.startswith(NOT_RECORDED) for note in report.notes):
        return report  # once is enough: a locked ledger is waited for
    event = events.GuardDecision(decision.checkpoint, decision.step or 0, decision.fresh)
    problem = _try(lambda: ledger.append(event))
    return report._replace(notes=(*report.notes, NOT_RECORDED + problem)) if problem else report


def record_start(run: str, step: int) -> None:
    """Add that a training begins at ``step``: what was reached beyond it is given up knowingly. Never raises."""
    from audit.ledger.records import read_records

    _, ledger = read_records(run, True)
    if ledger is not None:
        _try(lambda: ledger.append(events.Start(step)))
        ledger.close()


def seal(
    checkpoint: "Checkpoint", ledger: "Ledger", durable: bool = False, outcomes: tuple[str, str] | None = None
) -> None:
    """Take the seal of a checkpoint that was read at full depth. Raises LedgerError.

    A ``durable`` one is on the disk when this returns, with all rows before it.
    """
    scans = {path: scan for path, scan in checkpoint.scan.items() if not scan.error}
    newest = max((checkpoint.entries[path].mtime_ns for path in scans), default=0)
    files = {path: events.SealedFile(scan.size, scan.digest) for path, scan in scans.items()}
    ledger.append(events.SealTaken(checkpoint.name, checkpoint.step, newest, files), durable)
    remember(checkpoint, ledger, outcomes)


def remember(checkpoint: "Checkpoint", ledger: "Ledger", outcomes: tuple[str, str] | None = None) -> None:
    """Keep what the scan of a sealed checkpoint found, so that unchanged files need not be read again.

    ``outcomes`` as (stamp, text): what rules said of it, to be kept with the scans; see :mod:`audit.judging.outcomes`.
    """
    from audit.judging.outcomes import KEY as OUTCOMES

    records, stamps = checkpoint.run.records, checkpoint.run.stamps
    kept = {}
    whole = all(scan.bytes_read or not scan.size for scan in checkpoint.scan.values())
    before = records.last_read.get(checkpoint.name)
    for path, scan in checkpoint.scan.items():
        if not scan.error:
            kept[path] = (stamps[checkpoint.name, path], checkpoint.run.scan_text_of(checkpoint, path))
    if outcomes is not None:
        kept[OUTCOMES] = outcomes
    ledger.remember(checkpoint.name, kept, utc_time() if whole or before is None else utc_time(before))


def _observation(report: Report, names: list[str], step: int | None) -> events.Observation:
    return events.Observation(
        step=step,
        verdict=report.verdict,
        depth=report.depth,
        errors=report.count(Severity.ERROR),
        warnings=report.count(Severity.WARNING),
        checkpoints=names,
    )


def _record(run: "Run", report: Report, ledger: "Ledger", sealed: set[str], prove: bool) -> None:
    from audit.judging import faults
    from audit.judging.outcomes import KEY as OUTCOMES
    from audit.judging.resume import provable

    step = max((item.step for item in run.checkpoints if item.complete), default=None)
    ledger.append(_observation(report, [item.name for item in run.checkpoints], step))
    if report.depth == "full" and prove and not run.records.lost:  # a seal now would hide that one is missing
        proven = provable(run.judged, report)
        new = [item for item in proven if item.optional("seal") is None]
        for checkpoint in proven:
            outcomes = run.memory.text_of(checkpoint) if run.memory is not None else None
            if checkpoint in new:
                # A pin may follow: after a power failure it must not be there without its seal.
                seal(checkpoint, ledger, checkpoint is new[-1], outcomes)
                sealed.add(checkpoint.name)
            elif outcomes is not None or run.was_read(checkpoint):
                remember(checkpoint, ledger, outcomes or run.records.scans.get((checkpoint.name, OUTCOMES)))
        if run.memory is not None:
            faults.keep(run, report.findings, (item.name for item in proven), run.memory.program, ledger)
    pinned = pinned_names(run.storage.root) if run.storage.root is not None else set()
    kept = {item.name for item in run.checkpoints} | pinned | {""}
    gone = {name for name, _ in run.records.scans} - kept
    if gone:
        ledger.forget(gone)


def _try(write: Callable[[], None]) -> str | None:
    """Return why something could not be written, or None."""
    try:
        write()
    except AuditError as error:
        return str(error)
    return None
