"""The guard: judge a run, decide what to resume from, record the decision.

An unchanged run is answered from memory, in a process that then loads neither rules nor readers of files: what only a
judgement needs is imported where one is made.
"""

import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from audit.audit_dir import PINNED, pinned_names
from audit.backend.names import number_of
from audit.backend.protocol import inexact_in
from audit.errors import AuditError
from audit.facts.place import MissingError
from audit.judging.decision import Decision, Limits, decide, newer_elsewhere
from audit.judging.memory import keep, recall
from audit.judging.recording import record_decision, record_observation, record_unchanged
from audit.ledger.records import Records
from audit.ledger.rereading import is_stale, without_scans
from audit.manager import Registry, load
from audit.options import Options
from audit.report import Report
from audit.storage import scheme_of

if TYPE_CHECKING:
    from audit.backend.protocol import Backend
    from audit.facts.place import Place
    from audit.facts.run import Run
    from audit.judging.auditor import Auditor, Progress
    from audit.ledger.store import Ledger
    from audit.storage import Storage

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
    progress: "Progress | None" = None,
    veto: Veto | None = None,
) -> Guarded:
    """Judge a run and decide what to resume from; see :func:`audit.judging.decision.decide`.

    Raises AuditError if the run could not be judged, or is not there and ``limits.allow_missing`` is not set.

    ``veto`` hears the decision before it is recorded, and may say why nothing is to be handed out after all.
    """
    begin = time.perf_counter()
    limits, registry = limits or Limits(), registry or load()
    options = (options or Options())._replace(allow_empty=True)
    place = _place(path, limits, options, registry)
    if place is None:
        empty = Report(path, None, None, None, None, (), (), (), options.depth, 0, time.perf_counter() - begin)
        return Guarded(_unless(Decision(None, None, True, None, ()), veto), empty)
    if place.only:
        raise AuditError(f"{place.named}: is one checkpoint; give the run that holds it")
    records, ledger = place.records(options.ledger)
    try:
        known = _unchanged(place, records, limits, options, registry)
        if known is not None:
            report = known.report._replace(notes=tuple(_ledger_notes(records)))
            decision = _unless(known.decision, veto)
            report = record_unchanged(records, report, ledger)
        else:
            decision, report = _judged(place, records, ledger, limits, options, registry, progress, veto)
        if limits.exact and decision.checkpoint is not None and report.backend is not None:
            _refuse_inexact(place, decision.checkpoint, registry.backend(report.backend))
        report = record_decision(decision, records, report, ledger)
        if note := newer_elsewhere(path, records, decision.step or 0):
            report = report._replace(notes=(*report.notes, note))
    finally:
        if ledger is not None:
            ledger.close()
    return Guarded(decision, report._replace(seconds=time.perf_counter() - begin))


def _place(path: str, limits: Limits, options: Options, registry: Registry) -> "Place | None":
    """Where the run is, None if it is not there and may be missing."""
    if scheme_of(path) is None and not os.path.lexists(path):
        if limits.allow_missing:
            return None
        raise AuditError(
            f"{path}: there is no directory {os.path.abspath(path)}; if nothing was trained yet, create it or give "
            "--allow-missing, otherwise correct the path or mount its disk"
        )
    try:
        return registry.place(path, options.ledger_dir)
    except MissingError as error:
        if limits.allow_missing:
            return None
        raise MissingError(f"{error}, or say with --allow-missing that nothing was trained yet") from error


def _unchanged(
    place: "Place", records: Records, limits: Limits, options: Options, registry: Registry
) -> "Guarded | None":
    """The judgement of before, if nothing of the run has changed since, it had nothing to say and is young enough."""
    found = recall(place, records, options, registry) if limits.lineage is None else None
    if found is None or is_stale(records, found.newest.name, limits.max_age_days):
        return None
    pinned = pinned_names(place.root) if place.storage.root is not None else set()
    if any((number_of(name) or 0) > found.newest.step for name in pinned):
        return None  # a pin is further on, and has to be judged
    return Guarded(Decision(found.newest.name, found.newest.step, False, None, ()), found.report)


def _judged(
    place: "Place",
    records: Records,
    ledger: "Ledger | None",
    limits: Limits,
    options: Options,
    registry: Registry,
    progress: "Progress | None",
    veto: Veto | None,
) -> Guarded:
    from audit.judging.auditor import Auditor

    auditor = Auditor(options, registry, exact=limits.exact)
    run, report, decision = _decided(place, auditor, records, limits, progress)
    if report.crashed and decision.checkpoint is None:
        crash = report.crashed[0]
        raise AuditError(f"rule {crash.rule} crashed, so nothing is handed out: {crash.reason}; please report this")
    if limits.strict and decision.unread:
        raise AuditError(
            f"{place.root}: {decision.checkpoint} is not judged ({decision.unread}), so --strict hands out nothing; without it "
            "the guard hands it out with a note"
        )
    decision = _unless(decision, veto)
    report = report._replace(notes=(*report.notes, *_ledger_notes(records)))
    report = record_observation(run, report, ledger, prove=not options.select)
    keep(run, auditor, report, ledger)
    return Guarded(decision, report)


class _Decided(NamedTuple):
    """A decision and what it rests on."""

    run: "Run"
    report: Report
    decision: Decision


def _decided(
    place: "Place", auditor: "Auditor", records: Records, limits: Limits, progress: "Progress | None"
) -> _Decided:
    """Judge and decide; again if what would be handed out was last read too long ago, then with every byte of it."""
    from audit.judging.resume import crashes

    reread: frozenset[str] = frozenset()
    while True:
        run, report = auditor.judge(place, without_scans(records, reread), progress, _admit_any)
        decided = decide(run, (*report.findings, *crashes(report)), limits)
        decision = _or_pinned(decided, run, limits, auditor)
        name = os.path.basename(decision.checkpoint or "")
        used = auditor.options.depth == "full" and auditor.options.cache
        if not used or name in reread or not is_stale(records, name, limits.max_age_days):
            return _Decided(run, report, decision)
        reread |= {name}


def _refuse_inexact(place: "Place", checkpoint: str, backend: "Backend") -> None:
    """Raise AuditError if no file of such a checkpoint says that a resume is exact."""
    why = _inexact(place.storage, checkpoint, backend)
    if why:
        raise AuditError(
            f"{place.root}: {why}, so --exact hands out nothing; without it the guard hands out {checkpoint}"
        )


def _inexact(storage: "Storage", checkpoint: str, backend: "Backend") -> str:
    """Why no file of a checkpoint says that a resume is exact, "" if that is judged; a pin is named with its place."""
    return inexact_in(backend, os.path.basename(checkpoint), lambda: (entry.name for entry in storage.list(checkpoint)))


def _admit_any(run: "Run") -> None:
    """Judge whatever is there: the decision says what is wrong with a run, and what would be a fresh start."""


def _unless(decision: Decision, veto: Veto | None) -> Decision:
    reason = veto(decision) if veto is not None and decision.refusal is None else None
    return decision if reason is None else Decision(None, None, False, reason, decision.skipped)


def _ledger_notes(records: Records) -> Iterator[str]:
    """Say that seals and the steps reached before are not known: the files are then judged by themselves."""
    problem = records.edited or records.unusable or records.lost
    if problem:
        yield f"{problem}; what it says of seals and of the steps reached before is not used"


def _or_pinned(decision: Decision, run: "Run", limits: Limits, auditor: "Auditor") -> Decision:
    """Take the pinned checkpoint if it is newer than all that the run itself has; it is verified like any other."""
    if limits.strict or limits.lineage is not None:
        return decision
    from audit.judging.resume import crashes

    beyond = decision.step or 0
    judged = auditor.judge_pins(run, beyond)
    if judged is None:
        return decision
    pins, report = judged
    pinned = decide(pins, (*report.findings, *crashes(report)), Limits())
    if pinned.checkpoint is None or pinned.step is None or pinned.step <= beyond:
        return decision
    if limits.exact and _inexact(pins.storage, pinned.checkpoint, pins.backend):
        return decision
    progress = max(
        [run.records.highest_reached, *(item.step for item in (*run.checkpoints, *pins.checkpoints) if item.complete)]
    )
    behind = progress - pinned.step
    if limits.max_rollback is not None and behind > limits.max_rollback:
        return decision
    return pinned._replace(checkpoint=os.path.join(PINNED, pinned.checkpoint), skipped=decision.skipped, behind=behind)
