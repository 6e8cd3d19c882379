"""What a program asks of the audit: ``verify(run) -> Report`` and ``guard(run) -> Path | None``."""

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from audit.errors import AuditError
from audit.facts.run import Run, locate, open_run
from audit.judging.at_rest import judged_at_rest
from audit.judging.decision import Decision, Limits, ResumeRefused, decide
from audit.judging.engine import judge
from audit.judging.memory import KEY, keep, recall
from audit.judging.recording import record_decision, record_observation
from audit.judging.resume import resumable, resume_from
from audit.ledger.records import Records, read_records
from audit.manager import Registry, load
from audit.options import Options
from audit.report import CheckpointSummary, Report
from audit.retention.pins import PINNED, pins_home
from audit.rules import Rule
from audit.storage import DIRECTORY, LocalStorage

if TYPE_CHECKING:
    from pathlib import Path

    from audit.ledger.store import Ledger

Progress = Callable[[int, int], None]


class Guarded(NamedTuple):
    """What the guard decided, and the judgement it rests on."""

    decision: Decision
    report: Report


class Verified(NamedTuple):
    """A run, and what was judged of it."""

    run: Run
    report: Report


def verify(
    path: str | os.PathLike[str],
    options: Options | None = None,
    *,
    registry: Registry | None = None,
    progress: Progress | None = None,
) -> Report:
    """Judge one run: the directory that holds ``checkpoint-N``, or one such checkpoint.

    Records one observation in the run's ledger, and seals what a full-depth verification proved, unless
    ``options.ledger`` is False. ``progress`` is called with (bytes read since the last call, bytes in all) during a
    full-depth scan, from several threads. Raises AuditError where the audit could not be done: no such run, no
    checkpoint in it (unless ``options.allow_empty``), a plugin that does not load. Nothing of the run is executed, and
    no checkpoint is changed.
    """
    return verify_run(os.fspath(path), options, registry=registry, progress=progress).report


def verify_run(
    path: str,
    options: Options | None = None,
    *,
    registry: Registry | None = None,
    progress: Progress | None = None,
) -> Verified:
    """Do what :func:`verify` does, and return the opened run with its report: for who shows more than findings."""
    started = time.perf_counter()
    chosen = options or Options()
    plugins = registry or load()
    root, _ = locate(path)
    records, ledger = read_records(root, chosen.ledger and _has_checkpoints(root))
    try:
        rules = chosen.chosen(plugins.rules)

        def judged(run: Run) -> Report:
            if not run.checkpoints and not chosen.allow_empty and not records.reached and not run.homes:
                raise AuditError(
                    f"{path}: no checkpoint-N directory in it; if nothing was trained here yet, say so with --allow-empty"
                )
            if run.checkpoints and not run.judged and not run.only.intersection(run.homes):
                raise AuditError(
                    f"{path}: is a link, or its number has more than 18 digits; give the checkpoint itself"
                )
            return examine(run, rules, chosen, started)

        run, report = judged_at_rest(lambda: open_judged(path, chosen, plugins, records, progress), judged)
        report = record_observation(run, report, ledger, prove=not chosen.select)
        keep(run, rules, chosen, report, ledger)
    finally:
        _close(ledger)
    plugins.verified(report)
    return Verified(run, report)


def consult(
    path: str,
    limits: Limits | None = None,
    options: Options | None = None,
    *,
    registry: Registry | None = None,
    progress: Progress | None = None,
    veto: Callable[[Decision], str | None] | None = None,
) -> Guarded:
    """Judge a run and decide what to resume from; see :func:`audit.judging.decision.decide`. Raises AuditError.

    ``veto`` hears the decision before it is recorded, and may say why nothing is to be handed out after all.
    """
    started = time.perf_counter()
    chosen = (options or Options())._replace(allow_empty=True)
    plugins = registry or load()
    limits = limits or Limits()
    rules = _rules(chosen, plugins, limits)
    if not os.path.lexists(path):
        empty = Report(path, None, None, None, None, (), (), (), chosen.depth, 0, time.perf_counter() - started)
        return Guarded(_unless(Decision(None, None, True, None, ()), veto), empty)
    root, only = locate(path)
    if only:
        raise AuditError(f"{path}: is one checkpoint; give the run that holds it")
    records, ledger = read_records(root, chosen.ledger and _has_checkpoints(root))
    try:
        known = _recalled(path, chosen, plugins, records, rules, limits, started)
        run, report = known or judged_at_rest(
            lambda: open_judged(path, chosen, plugins, records, progress),
            lambda run: examine(run, rules, chosen, started),
        )
        if report.crashed:
            crash = report.crashed[0]
            raise AuditError(f"rule {crash.rule} crashed, so nothing is handed out: {crash.reason}; please report this")
        newest = run.checkpoints[-1] if known else None
        decided = (
            Decision(newest.name, newest.step, False, None, ()) if newest else decide(run, report.findings, limits)
        )
        decision = _unless(_or_pinned(decided, run, limits, chosen, plugins, rules), veto)
        report = record_observation(run, report, ledger, prove=not chosen.select and not known)
        if not known:
            keep(run, rules, chosen, report, ledger)
        report = record_decision(decision, run, report, ledger)
    finally:
        _close(ledger)
    return Guarded(decision, report)


def _unless(decision: Decision, veto: Callable[[Decision], str | None] | None) -> Decision:
    reason = veto(decision) if veto is not None and decision.refusal is None else None
    return decision if reason is None else Decision(None, None, False, reason, decision.skipped)


def _recalled(
    path: str,
    options: Options,
    plugins: Registry,
    records: Records,
    rules: Sequence[Rule],
    limits: Limits,
    started: float,
) -> tuple[Run, Report] | None:
    """The judgement of before, where nothing of the run has changed since and it had nothing to say."""
    if KEY not in records.scans or limits.lineage is not None:
        return None
    run = open_judged(path, options, plugins, records, None)
    found = recall(run, rules, options)
    return (run, found[0]._replace(seconds=time.perf_counter() - started)) if found else None


def _rules(options: Options, plugins: Registry, limits: Limits) -> Sequence[Rule]:
    """Return the chosen rules; those that tell of a resume that would not be exact block it if exactness is asked for."""
    chosen = options.chosen(plugins.rules)
    if not limits.exact:
        return chosen
    return [rule._replace(blocks_resume=True) if rule.breaks_exactness else rule for rule in chosen]


def _or_pinned(
    decision: Decision, run: Run, limits: Limits, options: Options, plugins: Registry, rules: Sequence[Rule]
) -> Decision:
    """Take the pinned checkpoint where it is further on than what the run itself still has.

    It is verified like any other: the pins' directory is a run of its own. Hard links are the files that were sealed,
    so what is remembered of them holds.
    """
    home = pins_home(run.storage.root) if isinstance(run.storage, LocalStorage) else None
    if home is None or limits.strict or limits.lineage is not None:
        return decision
    known = Records(seals=run.records.seals, scans=run.records.scans)
    if open_judged(home, options, plugins, known, None).highest <= (decision.step or 0):
        return decision
    pins, report = judged_at_rest(
        lambda: open_judged(home, options, plugins, known, None), lambda pins: examine(pins, rules, options, 0.0)
    )
    pinned = decide(pins, report.findings, Limits())
    if pinned.checkpoint is None or (pinned.step or 0) <= (decision.step or 0):
        return decision
    progress = max(
        [run.records.reached, *(item.step for item in (*run.checkpoints, *pins.checkpoints) if item.complete)]
    )
    behind = progress - (pinned.step or 0)
    if limits.max_rollback is not None and behind > limits.max_rollback:
        return decision
    return pinned._replace(checkpoint=os.path.join(PINNED, pinned.checkpoint), skipped=decision.skipped, behind=behind)


def guard(
    run: str | os.PathLike[str], *, strict: bool = False, allow_fresh: bool = False, exact: bool = False
) -> "Path | None":
    """Return the newest checkpoint that is really resumable, or None where nothing was ever trained: start fresh.

    Raises ResumeRefused, which carries the report, where training was done and nothing may be resumed from; AuditError
    where the audit could not be done. ``strict`` takes the newest checkpoint or none, ``allow_fresh`` returns None
    instead of refusing, ``exact`` takes only a checkpoint from which training goes on bit for bit.
    """
    from pathlib import Path

    path = os.fspath(run)
    decision, report = consult(path, Limits(strict=strict, allow_fresh=allow_fresh, exact=exact))
    if decision.refusal is not None:
        raise ResumeRefused(f"{path}: {decision.refusal}", report, decision)
    return Path(path, decision.checkpoint) if decision.checkpoint else None


def open_judged(path: str, options: Options, plugins: Registry, records: Records, progress: Progress | None) -> Run:
    """Open a run as the options ask for: backend, depth, threads, and what its ledger remembers. Raises AuditError."""
    return open_run(
        path,
        [plugins.backend(options.backend)] if options.backend else plugins.backends,
        depth=options.depth,
        jobs=options.jobs,
        settle_seconds=options.settle_seconds,
        progress=progress,
        records=records if options.cache else records._replace(scans={}),
    )


def _has_checkpoints(root: str) -> bool:
    """Whether there is anything to record: an empty directory stays empty."""
    try:
        names = os.listdir(root)
    except OSError:
        return False
    return any(name.startswith("checkpoint-") for name in names) or ".audit" in names


def _close(ledger: "Ledger | None") -> None:
    if ledger is not None:
        ledger.close()


def examine(run: Run, rules: Sequence[Rule], options: Options, started: float) -> Report:
    """Apply rules to an opened run and put the report together."""
    findings, outcomes = judge(run, rules, options.rules, options.severity)
    names = tuple(
        CheckpointSummary(
            item.name,
            item.step,
            resumable(item, findings),
            item.optional("seal") is not None,
            sum(entry.kind != DIRECTORY for entry in item.entries.values()),
            item.bytes,
        )
        for item in run.judged
    )
    scanned = sum(scan.bytes_read for scan in (run.optional("scans") or {}).values()) if options.depth == "full" else 0
    read = run.storage.bytes_read if isinstance(run.storage, LocalStorage) else 0
    return Report(
        path=run.path,
        backend=run.backend.name if run.checkpoints else None,
        latest_step=max((item.step for item in run.judged), default=None),
        save_total_limit=run.optional("save_total_limit"),
        resume_from=resume_from(run, findings),
        checkpoints=names,
        findings=findings,
        outcomes=outcomes,
        depth=options.depth,
        bytes_read=scanned + read,
        seconds=time.perf_counter() - started,
    )
