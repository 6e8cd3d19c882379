"""The guard: judge a run, decide what to resume from, record the decision."""

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from audit.audit_dir import PINNED
from audit.errors import AuditError
from audit.facts.run import Run, locate
from audit.judging.auditor import Auditor, Judged, Progress, anything_to_record
from audit.judging.decision import Decision, Limits, decide
from audit.judging.memory import KEY, keep, recall
from audit.judging.recording import record_decision, record_observation
from audit.judging.resume import crashes
from audit.ledger.records import Records, read_records
from audit.ledger.rereading import is_stale, without_scans
from audit.manager import Registry
from audit.options import Options
from audit.report import Report

Veto = Callable[[Decision], str | None]


class Guarded(NamedTuple):
    """What the guard decided, and the judgement it rests on."""

    decision: Decision
    report: Report


def consult(
    path: str,
    limits: Limits | None = None,
    options: Options | None = None,
    *,
    registry: Registry | None = None,
    progress: Progress | None = None,
    veto: Veto | None = None,
) -> Guarded:
    """Judge a run and decide what to resume from; see :func:`audit.judging.decision.decide`. Raises AuditError.

    ``veto`` hears the decision before it is recorded, and may say why nothing is to be handed out after all.
    """
    limits = limits or Limits()
    auditor = Auditor((options or Options())._replace(allow_empty=True), registry, exact=limits.exact)
    if not os.path.lexists(path):
        empty = Report(path, None, None, None, None, (), (), (), auditor.options.depth, 0, auditor.seconds)
        return Guarded(_unless(Decision(None, None, True, None, ()), veto), empty)
    root, only = locate(path)
    if only:
        raise AuditError(f"{path}: is one checkpoint; give the run that holds it")
    records, ledger = read_records(root, auditor.options.ledger and anything_to_record(root))
    try:
        known, run, report, decision = _decided(path, auditor, records, limits, progress)
        if report.crashed and decision.checkpoint is None:
            crash = report.crashed[0]
            raise AuditError(f"rule {crash.rule} crashed, so nothing is handed out: {crash.reason}; please report this")
        decision = _unless(decision, veto)
        report = report._replace(notes=(*report.notes, *_ledger_notes(records)))
        report = record_observation(run, report, ledger, prove=not auditor.options.select and not known)
        if not known:
            keep(run, auditor.rules, auditor.options, report, ledger)
        report = record_decision(decision, run, report, ledger)
    finally:
        if ledger is not None:
            ledger.close()
    return Guarded(decision, report)


class _Decided(NamedTuple):
    """A decision and what it rests on; ``known``: on a judgement that was remembered."""

    known: bool
    run: Run
    report: Report
    decision: Decision


def _decided(path: str, auditor: Auditor, records: Records, limits: Limits, progress: Progress | None) -> _Decided:
    """Judge and decide; again if what would be handed out was last read too long ago, then with every byte of it."""
    reread: frozenset[str] = frozenset()
    while True:
        fresh = without_scans(records, reread)
        known = _recalled(path, auditor, fresh, limits)
        run, report = known or auditor.judge(path, fresh, progress)
        decided = _newest(run) if known else decide(run, (*report.findings, *crashes(report)), limits)
        decision = _or_pinned(decided, run, limits, auditor)
        name = os.path.basename(decision.checkpoint or "")
        used = auditor.options.depth == "full" and auditor.options.cache
        if not used or name in reread or not is_stale(records, name, limits.max_age_days):
            return _Decided(known is not None, run, report, decision)
        reread |= {name}


def _unless(decision: Decision, veto: Veto | None) -> Decision:
    reason = veto(decision) if veto is not None and decision.refusal is None else None
    return decision if reason is None else Decision(None, None, False, reason, decision.skipped)


def _ledger_notes(records: Records) -> Iterator[str]:
    """Say that seals and the steps reached before are not known: the files are then judged by themselves."""
    problem = records.edited or records.unusable or records.lost
    if problem:
        yield f"{problem}; what it says of seals and of the steps reached before is not used"


def _newest(run: Run) -> Decision:
    newest = run.checkpoints[-1]
    return Decision(newest.name, newest.step, False, None, ())


def _recalled(path: str, auditor: Auditor, records: Records, limits: Limits) -> Judged | None:
    """The judgement of before, if nothing of the run has changed since and it had nothing to say."""
    if limits.lineage is not None or KEY not in records.scans:
        return None
    run = auditor.open(path, records)
    found = recall(run, auditor.rules, auditor.options)
    return Judged(run, found[0]._replace(seconds=auditor.seconds)) if found else None


def _or_pinned(decision: Decision, run: Run, limits: Limits, auditor: Auditor) -> Decision:
    """Take the pinned checkpoint if it is newer than all that the run itself has; it is verified like any other."""
    if limits.strict or limits.lineage is not None:
        return decision
    judged = auditor.judge_pins(run, beyond=decision.step or 0)
    if judged is None:
        return decision
    pins, report = judged
    pinned = decide(pins, (*report.findings, *crashes(report)), Limits())
    if pinned.checkpoint is None or (pinned.step or 0) <= (decision.step or 0):
        return decision
    progress = max(
        [run.records.highest_reached, *(item.step for item in (*run.checkpoints, *pins.checkpoints) if item.complete)]
    )
    behind = progress - (pinned.step or 0)
    if limits.max_rollback is not None and behind > limits.max_rollback:
        return decision
    return pinned._replace(checkpoint=os.path.join(PINNED, pinned.checkpoint), skipped=decision.skipped, behind=behind)
