"""The checks before a leg begins: the rules of the scope ``plan``."""

import os
from typing import Any

from audit.backend.training import LegRequest, Note, Size, TrainingBackend
from audit.errors import AuditError
from audit.facts.checkpoint import Checkpoint
from audit.facts.plan import Plan
from audit.facts.run import Run
from audit.facts.space import Space, free_at, peak
from audit.findings import Finding, Outcome, Severity
from audit.judging.auditor import Auditor
from audit.judging.engine import Judgement, judge
from audit.ledger.timeline import Timeline
from audit.manager import Registry
from audit.options import Options
from audit.training.drafting import Work
from audit.training.events import DiskShort, Emit
from audit.training.run_state import TrainRefused


def refuse_or_warn(
    work: Work,
    trainer: TrainingBackend,
    registry: Registry,
    options: Options,
    processes: int,
    timeline: Timeline,
    emit: Emit,
) -> None:
    """Raise TrainRefused if a rule finds an error in the leg; its data stays. Warnings are emitted as notes."""
    run = opened(work.request.run, registry, options)
    resume = checkpoint_in(run, work.request.resume_from)
    plan = plan_of(work, trainer, processes, resume, timeline)
    plan.ask_space(lambda: space_of([plan], work.request, trainer, run, roughly=True))
    errors = []
    for finding in judged(plan, registry, options).findings:
        if finding.severity is Severity.ERROR:
            errors.append(finding)
        elif finding.severity is Severity.WARNING:
            short = finding.rule == "plan/disk"
            emit(DiskShort(work.file.name, text_of(finding)) if short else Note(text_of(finding)))
    if errors:
        raise TrainRefused(f"{work.file.name}: {'; '.join(text_of(item) for item in errors)}")


def text_of(finding: Finding) -> str:
    """Return a finding in one line."""
    return f"{finding.message} ({finding.rule})"


def judged(plan: Plan, registry: Registry, options: Options) -> Judgement:
    """Apply the rules for plans. Raises AuditError if one of them crashed."""
    found = judge(plan, options.chosen(registry.rules), options.rules, options.severity)
    for outcome in found.outcomes:
        if outcome.outcome is Outcome.ERROR:
            raise AuditError(f"rule {outcome.rule} crashed: {outcome.reason}; please report this")
    return found


def plan_of(
    work: Work,
    trainer: TrainingBackend,
    processes: int,
    resume: Checkpoint | None,
    timeline: Timeline,
    every: Any = None,
) -> Plan:
    """Return the facts of one leg."""
    return Plan(
        work.request,
        trainer,
        resume=resume,
        sound=resume,
        file=work.file.name,
        rows=work.examples // work.epochs if work.examples is not None and work.epochs else None,
        per_step=work.per_step,
        processes=processes,
        every=every,
        recorded_base=timeline.base_at(work.request.first_step),
    )


def opened(path: str, registry: Registry, options: Options) -> Run | None:
    """Open a run, or the directory of its pins, for its structure alone; None if it is not there yet."""
    return Auditor(options, registry).open_quick(path) if os.path.isdir(path) else None


def checkpoint_in(run: Run | None, path: str | None) -> Checkpoint | None:
    """Return the checkpoint of this path, None for a fresh start."""
    if run is None or path is None:
        return None
    return next((item for item in run.checkpoints if item.name == os.path.basename(path)), None)


def space_of(
    plans: list[Plan], request: LegRequest, trainer: TrainingBackend, run: Run | None, roughly: bool = False
) -> Space | None:
    """Return what these legs need on the volume of ``run``, None if that is not known.

    ``roughly``: if there is room for the largest checkpoints that are possible, that is said and no model is built.
    """
    saves = [plan.saves.number for plan in plans]
    if not saves or None in saves:
        return None
    arguments = plans[0].optional("arguments") or {}
    limit = arguments.get("save_total_limit")
    limit = limit if isinstance(limit, int) and limit > 0 else None
    best = bool(arguments.get("load_best_model_at_end") or arguments.get("metric_for_best_model"))
    saved = run.checkpoints if run is not None else ()
    there = [(item.complete, Size(item.bytes, len(item.entries) + 1)) for item in saved]
    whole = [size for complete, size in there if complete]
    if whole:
        one, source = whole[-1], "as large as the newest one"
    else:
        if roughly and (found := _with_room(trainer, request, [number or 0 for number in saves], there, limit, best)):
            return found
        asked = getattr(trainer, "checkpoint_size", None)
        found = asked(request.settings) if asked is not None else None
        if found is None:
            return None
        one, source = found, "estimated from the model"
    counts = [number for number in saves if number is not None]
    need = peak(counts, [size for _, size in there], one, limit, best)
    return Space(need, free_at(request.run), one, source, sum(counts), limit)


def _with_room(
    trainer: TrainingBackend,
    request: LegRequest,
    counts: list[int],
    there: list[tuple[bool, Size]],
    limit: int | None,
    best: bool,
) -> Space | None:
    """Return what the largest possible checkpoints need if ten times of that is free, else None."""
    asked = getattr(trainer, "largest_checkpoint", None)
    one = asked(request.settings) if asked is not None else None
    if one is None:
        return None
    need, free = peak(counts, [size for _, size in there], one, limit, best), free_at(request.run)
    enough = need.bytes * 10 < free.bytes and (free.inodes is None or need.inodes * 10 < free.inodes)
    return Space(need, free, one, "at most, by the size of the model", sum(counts), limit) if enough else None
