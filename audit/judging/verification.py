"""Verify a run: judge it, record what was seen, seal what was proven."""

from audit.errors import AuditError
from audit.facts.run import Run, locate
from audit.facts.traces import no_checkpoint
from audit.judging.auditor import Auditor, Judged, Progress, anything_to_record
from audit.judging.memory import keep
from audit.judging.recording import record_observation
from audit.ledger.records import Records, read_records
from audit.ledger.rereading import due_for_scrub, without_scans
from audit.manager import Registry
from audit.options import Options


def verify_run(
    path: str,
    options: Options | None = None,
    *,
    registry: Registry | None = None,
    progress: Progress | None = None,
) -> Judged:
    """Do what :func:`audit.verify` does, and return the opened run with its report: for callers that show more."""
    auditor = Auditor(options or Options(), registry)
    root, _ = locate(path)
    records, ledger = read_records(root, auditor.options.ledger and anything_to_record(root))
    known = without_scans(records, due_for_scrub(records, auditor.options.scrub))
    try:
        run, report = auditor.judge(path, known, progress, lambda run: _admit(path, run, auditor.options, records))
        report = record_observation(run, report, ledger, prove=not auditor.options.select)
        keep(run, auditor.rules, auditor.options, report, ledger)
    finally:
        if ledger is not None:
            ledger.close()
    auditor.registry.verified(report)
    return Judged(run, report)


def _admit(path: str, run: Run, options: Options, records: Records) -> None:
    """Raise AuditError if there is nothing in the run to judge, and nothing says that there was."""
    if not run.checkpoints and not options.allow_empty and not records.highest_reached and not run.homes:
        problem = no_checkpoint(path, run.storage)
        advice = "" if ", but " in problem else "; if nothing was trained here yet, say so with --allow-empty"
        raise AuditError(problem + advice)
    if run.checkpoints and not run.judged and not run.only.intersection(run.homes):
        raise AuditError(f"{path}: is a link, or its number has more than 18 digits; give the checkpoint itself")
