"""Verify a run: judge it, record what was seen, seal what was proven."""

import time
from typing import TYPE_CHECKING

from audit.audit_dir import PINNED, pinned_names
from audit.backend.names import number_of
from audit.errors import AuditError
from audit.judging.memory import keep, recall
from audit.judging.recording import record_observation, record_unchanged
from audit.ledger.records import Records
from audit.ledger.rereading import due_for_scrub, without_scans
from audit.manager import Registry, load
from audit.options import Options
from audit.report import Report

if TYPE_CHECKING:
    from audit.facts.place import Place
    from audit.facts.run import Run
    from audit.judging.auditor import Auditor, Judged, Progress
    from audit.ledger.store import Ledger


def verify_report(
    path: str,
    options: Options | None = None,
    *,
    registry: Registry | None = None,
    progress: "Progress | None" = None,
) -> Report:
    """Do what :func:`audit.verify` does; from memory if a new judgement would be the same in every outcome."""
    begin = time.perf_counter()
    options, registry = options or Options(), registry or load()
    place = registry.place(path, options.ledger_dir)
    records, ledger = place.records(options.ledger)
    try:
        found = None if place.only or options.scrub else recall(place, records, options, registry)
        if found is not None and found.exactly:
            report = record_unchanged(records, found.report, ledger)
            report = report._replace(seconds=time.perf_counter() - begin)
        else:
            report = _judged(place, options, registry, progress, records, ledger).report
    finally:
        if ledger is not None:
            ledger.close()
    registry.verified(report)
    return report


def verify_run(
    path: str,
    options: Options | None = None,
    *,
    registry: Registry | None = None,
    progress: "Progress | None" = None,
) -> "Judged":
    """Judge a run and return it opened, with its report: for callers that show more."""
    options, registry = options or Options(), registry or load()
    place = registry.place(path, options.ledger_dir)
    records, ledger = place.records(options.ledger)
    try:
        judged = _judged(place, options, registry, progress, records, ledger)
    finally:
        if ledger is not None:
            ledger.close()
    registry.verified(judged.report)
    return judged


def _judged(
    place: "Place",
    options: Options,
    registry: Registry,
    progress: "Progress | None",
    records: Records,
    ledger: "Ledger | None",
) -> "Judged":
    from audit.judging.auditor import Auditor, Judged

    auditor = Auditor(options, registry)
    known = without_scans(records, due_for_scrub(records, options.scrub))
    run, report = auditor.judge(place, known, progress, lambda run: _admit(place.named, run, options, records))
    report = record_observation(run, report, ledger, prove=not options.select)
    keep(run, auditor, report, ledger)
    if run.only or place.storage.root is None:
        return Judged(run, report)
    return Judged(run, _with_pin(place.root, run, report, auditor))


def _with_pin(path: str, run: "Run", report: Report, auditor: "Auditor") -> Report:
    """Name the pin that the guard would take: the report is of the run's own checkpoints."""
    newest = max(pinned_names(path), key=lambda name: number_of(name) or 0, default="")
    beyond = next((item.step for item in report.checkpoints if item.name == report.resume_from), 0)
    if (number_of(newest) or 0) <= beyond:
        return report
    pins = auditor.judge_pins(run, beyond)
    found = pins.report.resume_from if pins is not None else None
    if found is not None and (number_of(found) or 0) > beyond:
        note = f"audit guard hands out {found} from {path.rstrip('/')}/{PINNED}/: a pinned copy, which rotation does not reach"
        return report._replace(notes=(*report.notes, note), pinned=found)
    return report._replace(notes=(*report.notes, f"{newest} has a pinned copy, which cannot be resumed from either"))


def _admit(path: str, run: "Run", options: Options, records: Records) -> None:
    """Raise AuditError if there is nothing in the run to judge, and nothing says that there was."""
    from audit.facts.traces import no_checkpoint
    from audit.judging.auditor import refuse_foreign
    from audit.judging.decision import newer_elsewhere

    refuse_foreign(run)
    if not run.checkpoints and not options.allow_empty and not records.highest_reached and not run.homes:
        problem = no_checkpoint(path, run.storage)
        advice = "" if ", but " in problem else "; if nothing was trained here yet, say so with --allow-empty"
        raise AuditError(problem + advice)
    if not run.checkpoints and not options.allow_empty and not records.highest_here and records.elsewhere:
        raise AuditError(f"{path}: holds no checkpoint; {newer_elsewhere(path, records, 0)}")
    if run.checkpoints and not run.judged and not run.only.intersection(run.homes):
        raise AuditError(f"{path}: is a link, or its number has more than 18 digits; give the checkpoint itself")
