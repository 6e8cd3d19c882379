"""Rehearse a checkpoint of a run of ``audit train``: restore it in a scratch directory, and train steps of it again.

What was trained after it is what the ledger says: which examples of which file, with which seed, schedule and base
model. Everything is done in a process of its own; the checkpoints and the data are only read.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from audit.audit_dir import PINNED
from audit.backend.names import PREFIX, name_of, step_of
from audit.backend.rehearsal import WEIGHTS, Rehearsal, RehearsalRequest
from audit.backend.training import LegFailed, TrainingBackend
from audit.errors import AuditError
from audit.facts.checkpoint import Checkpoint
from audit.judging.guard import consult
from audit.judging.standing import BROKEN, SEALED
from audit.ledger.batches import Leg
from audit.ledger.events import Rehearsed
from audit.ledger.seals import seal_digest
from audit.ledger.timeline import Timeline
from audit.manager import Registry
from audit.options import Options
from audit.rehearsal.causes import BASE, Difference
from audit.rehearsal.comparison import judge
from audit.rehearsal.expected import Logged, logged_after, steps_to_train
from audit.rehearsal.machine import changed, machine
from audit.rehearsal.report import RehearsalReport
from audit.text import listed
from audit.training.batch_log import BatchLog
from audit.training.config import TrainConfig
from audit.training.preflight import judged, plan_of
from audit.training.rehearsal_draft import Drafted, draft
from audit.training.training_process import TrainingProcess
from audit.views.inspection import Inspection, inspect

STEPS = 5
"""Steps that are trained again: faults of the optimizer's state show in the second one."""
TIMEOUT = 1800.0
"""Seconds that a rehearsal may take."""
BASE_RULE = "plan/base-changed"

RunRehearsal = Callable[[TrainingBackend, RehearsalRequest], Rehearsal]


class Asked(NamedTuple):
    """What to rehearse: a ``checkpoint`` by name or step, None for the one that the guard would hand out.

    ``steps`` None: as many as are useful, :data:`STEPS` or up to the end of the first logged mean. ``record``: note the
    result in the run's ledger.
    """

    checkpoint: str | None = None
    steps: int | None = None
    timeout: float = TIMEOUT
    record: bool = True


def rehearse(
    config: TrainConfig,
    trainer: TrainingBackend,
    registry: Registry,
    asked: Asked,
    run_rehearsal: RunRehearsal | None = None,
) -> RehearsalReport:
    """Rehearse a checkpoint of ``config.run``; the report says what differs.

    ``run_rehearsal`` runs it: by default in a process of its own.
    Raises AuditError if it cannot be rehearsed: no such checkpoint, a backend that cannot, a process that died or took
    too long.
    """
    check_backend(trainer)
    chosen = _chosen(config, registry, asked.checkpoint)
    batch_log = BatchLog(config.run)
    timeline = batch_log.timeline()
    name, step = chosen.checkpoint.name, chosen.checkpoint.step
    with tempfile.TemporaryDirectory(prefix="audit-rehearsal-") as scratch:
        drafted = draft(config, trainer, timeline, chosen.path, step, scratch)
        _check_processes(drafted.leg)
        logged, log = _logged(chosen, timeline, drafted)
        steps = steps_to_train(logged, step, STEPS if asked.steps is None else asked.steps, drafted.most)
        unjudged = None if steps else _unjudged(asked, drafted, chosen)
        request = RehearsalRequest(drafted.request, steps, tuple(_arrivals(chosen, step, steps)))
        found = _run(trainer, request, asked.timeout, run_rehearsal)
    inexact = _inexact(trainer, drafted.leg, timeline, step, steps, found)
    logged = [item for item in logged if item.step <= step + steps]
    before = tuple(_base(drafted, trainer, registry, chosen, timeline))
    judgement = judge(found, logged, step, inexact is None, before)
    path = os.path.join(config.run, name) if not chosen.pinned else chosen.path
    report = RehearsalReport(
        path, step, inexact is None, inexact, found, tuple(logged), log, judgement, unjudged, drafted.lacking,
        (*_notes(chosen), *_fewer(asked, drafted, step, steps, log)), asked.steps,
    )  # fmt: skip
    return _recorded(report, chosen, batch_log) if asked.record else report


def check_backend(trainer: TrainingBackend) -> None:
    """Raise AuditError for a backend that cannot rehearse."""
    if not hasattr(trainer, "rehearse"):
        raise AuditError(f"the backend {trainer.name} cannot rehearse: it does not own what a leg restores and trains")


class Chosen(NamedTuple):
    """The checkpoint to rehearse, in the run, or ``pinned`` in its pins, and what is known of it."""

    checkpoint: Checkpoint
    inspection: Inspection
    path: str
    pinned: bool


def _chosen(config: TrainConfig, registry: Registry, wanted: str | None) -> Chosen:
    if not os.path.isdir(config.run):
        raise AuditError(f"{config.run}: there is no such directory")
    options = config.verify._replace(ledger=False)
    if wanted is None:
        decision = consult(config.run, config.guard, options, registry=registry).decision
        if decision.checkpoint is None:
            raise AuditError(f"{config.run}: {decision.refusal or 'nothing has been trained here'}")
        found = decision.checkpoint
    else:
        step = step_of(f"{PREFIX}{wanted}")
        found = os.path.basename(os.path.normpath(wanted)) if step is None else name_of(step)
        if step_of(found) is None:
            raise AuditError(f"{wanted}: is no checkpoint; give its step, or its name checkpoint-N")
    pinned = os.path.dirname(found) == PINNED
    inspection = inspect(os.path.join(config.run, os.path.dirname(found)), options, registry=registry)
    name = os.path.basename(found)
    checkpoint = next((item for item in inspection.run.checkpoints if item.name == name), None)
    if checkpoint is None:
        there = listed([item.name for item in inspection.run.checkpoints])
        raise AuditError(f"{config.run}: has no {name}; there: {there}")
    if not checkpoint.complete:
        raise AuditError(f"{os.path.join(config.run, name)}: was not written to its end, so it cannot be rehearsed")
    return Chosen(checkpoint, inspection, os.path.abspath(os.path.join(config.run, found)), pinned)


def _logged(chosen: Chosen, timeline: Timeline, drafted: Drafted) -> tuple[list[Logged], str | None]:
    """Return what the newest checkpoint of the same history logged of the steps that follow, and its name."""
    if not drafted.most:
        return [], None
    members = chosen.inspection.run.lineage_of(chosen.checkpoint)
    newest = members[-1] if members else chosen.checkpoint
    begins = frozenset(leg.first_step for leg in timeline.legs)
    step, leg = chosen.checkpoint.step, drafted.leg
    found = logged_after(newest.history, step, begins)
    counted = leg.examples_per_step is not None
    told = [
        item._replace(
            examples=tuple(range(leg.example_at(item.step - 1), leg.example_at(item.step))) if counted else None
        )
        for item in found
        if item.step <= step + drafted.most
    ]
    return told, newest.name


def _unjudged(asked: Asked, drafted: Drafted, chosen: Chosen) -> str:
    """Return why no step is trained again."""
    if asked.steps == 0:
        return "none was asked for (--steps 0)"
    reason = drafted.unjudged or "the log of no later checkpoint has them"
    before = chosen.inspection.run.before(chosen.checkpoint)
    if drafted.lacking or before is None:
        return reason
    return f"{reason}; --checkpoint {before.step} rehearses the steps up to it"


def _arrivals(chosen: Chosen, step: int, steps: int) -> Iterator[tuple[int, str]]:
    """Yield the checkpoints that were saved after one of the steps."""
    for item in chosen.inspection.run.lineage_of(chosen.checkpoint):
        if step < item.step <= step + steps and item.complete:
            yield item.step, os.path.join(os.path.dirname(chosen.path), item.name)


def _run(
    trainer: TrainingBackend, request: RehearsalRequest, seconds: float, instead: RunRehearsal | None
) -> Rehearsal:
    try:
        return (instead or partial(_in_child, seconds))(trainer, request)
    except LegFailed as error:
        name = os.path.basename(request.leg.resume_from or "")
        raise AuditError(f"{name}: could not be rehearsed: {error.reason}") from error


def _in_child(seconds: float, trainer: TrainingBackend, request: RehearsalRequest) -> Rehearsal:
    process = TrainingProcess(log=os.path.join(request.leg.run, "output.log"))
    try:
        return process.rehearse(trainer, request, lambda event: None, seconds)
    finally:
        process.kill()


def _check_processes(leg: Leg) -> None:
    """Refuse what another number of processes trained: each has its own examples, and its own random state."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if leg.processes != size:
        how = f"torchrun --nproc-per-node {leg.processes} -m audit rehearse ..." if leg.processes > 1 else "one process"
        number = "1 process" if leg.processes == 1 else f"{leg.processes} processes"
        raise AuditError(
            f"the steps were trained by {number}, and this is {size}: the others have their own examples and random states; "
            f"rehearse with {how}"
        )


def _inexact(
    trainer: TrainingBackend, leg: Leg, timeline: Timeline, step: int, steps: int, found: Rehearsal
) -> str | None:
    """Return why steps cannot be asked to be equal bit for bit, None if they can."""
    if found.device != "cpu":
        return f"steps on {found.device} are not the same bit for bit"
    now = machine(getattr(trainer, "libraries", ()))
    for item in timeline.legs:
        if item is not leg and not (item.batch == leg.batch and step < item.first_step < step + steps):
            continue
        if item.machine is None:
            return "the ledger does not say on which machine and with which versions they were trained"
        other = changed(item.machine, now)
        if other is not None:
            return f"they were trained elsewhere: {other}"
    return None


def _base(
    drafted: Drafted, trainer: TrainingBackend, registry: Registry, chosen: Chosen, timeline: Timeline
) -> Iterator[Difference]:
    """Yield that the base model is another one than the ledger says."""
    if not any(rule.id == BASE_RULE for rule in registry.rules):
        return
    plan = plan_of(drafted.work, trainer, drafted.leg.processes, chosen.checkpoint, timeline)
    for finding in judged(plan, registry, Options(select=(BASE_RULE,))).findings:
        yield Difference(None, BASE, "the one that was trained on", finding.message, None)


def _notes(chosen: Chosen) -> Iterator[str]:
    standing = chosen.inspection.standings[chosen.checkpoint.name]
    if standing.state == BROKEN:
        yield f"audit verify finds what blocks a resume from it: {standing.reason}"
    if chosen.pinned:
        yield "it is the pinned copy: the run itself has no such checkpoint any more"


def _fewer(asked: Asked, drafted: Drafted, step: int, steps: int, log: str | None) -> Iterator[str]:
    """Yield why fewer steps are trained again than were asked for."""
    if not 0 < steps < (asked.steps or 0):
        return
    end = step + steps
    if steps < drafted.most:
        yield f"{steps} of {asked.steps} steps are compared: the log of {log} has none after step {end}"
    else:
        yield f"{steps} of {asked.steps} steps are compared: what was trained in one go ends at step {end}"


def _recorded(report: RehearsalReport, chosen: Chosen, batch_log: BatchLog) -> RehearsalReport:
    """Note the result in the ledger, with the seal of the files that it is true of."""
    events = list(_events(report, chosen))
    if not any(event.checkpoint == chosen.checkpoint.name for event in events):
        sealed = _sealed_as(chosen, chosen.checkpoint) is not None
        why = (
            "neither its weights nor a step were compared" if sealed else f"{report.checkpoint} is not sealed as it is"
        )
        report = report._replace(notes=(*report.notes, f"not recorded: {why}"))
    try:
        with batch_log.ledger() as ledger:
            for event in events:
                ledger.append(event, durable=True)
    except AuditError as error:
        return report._replace(notes=(*report.notes, f"not recorded: {error}"))
    return report


def _events(report: RehearsalReport, chosen: Chosen) -> Iterator[Rehearsed]:
    """Yield what is recorded: of the checkpoint, and of each that was reached and compared bit for bit."""
    found, there = report.rehearsal, {item.step: item for item in chosen.inspection.run.checkpoints}
    reached = {item.step: item.parts for item in found.arrivals} if report.exact else {}
    saved = {(step, part.part) for step, parts in reached.items() for part in parts}
    own = [item for item in report.judgement.differences if (item.step, item.quantity) not in saved]
    digest = _sealed_as(chosen, chosen.checkpoint)
    seen = report.judgement.steps or any(part.values for part in found.restored if part.part == WEIGHTS)
    if digest is not None and (seen or own):
        steps = report.judgement.steps
        text = report.first_difference if own else ""
        yield Rehearsed(chosen.checkpoint.name, report.step, steps, not own, report.exact, digest, text)
    for step, parts in reached.items() if not own else ():
        digest = _sealed_as(chosen, there[step])
        wrong = next((part.part for part in parts if part.different), None)
        if digest is not None and all(part.values for part in parts):
            text = f"{wrong} is not what the steps from {chosen.checkpoint.name} lead to" if wrong else ""
            yield Rehearsed(there[step].name, step, 0, wrong is None, True, digest, text)


def _sealed_as(chosen: Chosen, checkpoint: Checkpoint) -> str | None:
    """Return the digest of the seal that a checkpoint has, None if it is not as it was sealed."""
    seal = checkpoint.optional("seal")
    sealed = chosen.inspection.standings[checkpoint.name].state == SEALED
    return seal_digest(seal) if seal is not None and sealed else None
