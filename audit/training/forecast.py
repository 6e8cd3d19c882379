"""What ``audit train`` would do now, and what the rules of the scope ``plan`` say about it; nothing is changed.

:mod:`audit.training.dry_run` says which legs come next. A forecast does not cover what may go wrong in the meantime.
"""

import os
from typing import NamedTuple

from audit.backend.training import LegData, LegRequest, TrainingBackend
from audit.errors import ConfigError
from audit.facts.checkpoint import Checkpoint
from audit.facts.plan import Plan, Saves
from audit.findings import Finding, Severity
from audit.judging.decision import Decision
from audit.judging.engine import Judgement
from audit.manager import Registry
from audit.training.config import TrainConfig
from audit.training.drafting import Work
from audit.training.dry_run import Aside, DryRun, Outlook, PlannedLog
from audit.training.preflight import checkpoint_in, judged, opened, plan_of, space_of


class PlannedLeg(NamedTuple):
    """One planned leg; ``saves`` are its checkpoints, before rotation.

    ``tried``: how many of its rows were made into examples, None if that was not tried.
    """

    work: Work
    plan: Plan
    saves: Saves
    tried: int | None

    @property
    def rows(self) -> int | None:
        """Rows of the data file."""
        return self.work.examples // self.work.epochs if self.work.examples is not None else None

    @property
    def examples(self) -> int | None:
        """Examples that the leg trains: rows x epochs, less those that were trained before."""
        return self.work.examples - self.work.request.data.first if self.work.examples is not None else None

    @property
    def steps(self) -> int | None:
        """Steps of the leg."""
        request = self.work.request
        return request.last_step - request.first_step if request.last_step is not None else None


class Forecast(NamedTuple):
    """What would be trained. ``refusal``: why nothing, or nothing more, would be; ``later``: files after that.

    ``plan`` is the first leg, or the next one as far as the configuration determines it if no file waits.
    ``judgements`` has one for each leg, in order.
    """

    config: TrainConfig
    step: int
    checkpoint: str | None
    decision: Decision
    legs: tuple[PlannedLeg, ...]
    later: tuple[str, ...]
    aside: tuple[Aside, ...]
    refusal: str | None
    notes: tuple[str, ...]
    plan: Plan
    judgements: tuple[Judgement, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of all legs, the worst first."""
        found = [item for judgement in self.judgements for item in judgement.findings]
        return tuple(sorted(found, key=lambda item: -item.severity.rank))

    @property
    def works(self) -> bool:
        """Whether all of it would be trained: `audit train` would end with exit code 0, as far as can be foreseen."""
        errors = any(item.severity is Severity.ERROR for item in self.findings)
        return not (errors or self.refusal or self.aside)

    @property
    def first_rate(self) -> float | None:
        """The learning rate that the first planned step is trained with, None if that is not known."""
        return self._rate_of(self.legs[0], self.legs[0].work.request.first_step) if self.legs else None

    @property
    def last_rate(self) -> float | None:
        """The learning rate that the last planned step is trained with, None if that is not known."""
        return self._rate_of(self.legs[-1], (self.legs[-1].work.request.last_step or 0) - 1) if self.legs else None

    def _rate_of(self, leg: PlannedLeg, step: int) -> float | None:
        schedule = leg.plan.optional("schedule")
        shares = schedule.at(step) if schedule is not None and step >= 0 else ()
        resume = self.plan.optional("resume")
        scheduler = resume.optional("scheduler") if resume is not None else None
        if scheduler is not None and scheduler.base_lrs:
            base = max(scheduler.base_lrs)  # a resume goes on with the rates of the file
        else:
            base = schedule.base if schedule is not None else None
        return base * shares[0] if shares and base is not None else None


def forecast(
    config: TrainConfig,
    trainer: TrainingBackend,
    registry: Registry,
    *,
    processes: int | None = None,
    decay: bool = False,
    skip_lost: bool = False,
    adopt: bool = False,
    allow_fresh: bool = False,
    change: tuple[str, ...] = (),
) -> Forecast:
    """Return what would be trained now. ``processes`` None: as many as last time. Raises AuditError."""
    planned = PlannedLog(config.run)
    dry_run = DryRun(
        config,
        trainer,
        registry,
        planned,
        processes=processes or planned.processes,
        decay=decay,
        skip_lost=skip_lost,
        adopt=adopt,
        allow_fresh=allow_fresh,
        change=change,
    )
    outlook = dry_run.look()
    return _tried(_judged(dry_run, outlook), outlook.fault)


def forecast_next_leg(
    config: TrainConfig,
    trainer: TrainingBackend,
    registry: Registry,
    decision: Decision,
    processes: int | None = None,
) -> Forecast:
    """Return the forecast of the leg that follows on what the guard decided; without a file if none waits.

    ``processes`` None: as many as last time. Raises AuditError.
    """
    planned = PlannedLog(config.run)
    dry_run = DryRun(config, trainer, registry, planned, decided=decision, processes=processes or planned.processes)
    return _judged(dry_run, dry_run.look(only_first=True))


def _tried(found: Forecast, fault: str | None) -> Forecast:
    """Have the backend build what the next leg would be trained with; ``fault``: what is wrong besides."""
    asked = getattr(found.plan.trainer, "tried", None)
    try:
        note = asked(found.plan.request) if asked is not None else None
    except ConfigError as error:
        return found._replace(refusal=found.refusal or str(error))
    notes = (*found.notes, note) if note is not None else found.notes
    return found._replace(notes=notes, refusal=found.refusal or fault)


def _judged(dry_run: DryRun, outlook: Outlook) -> Forecast:
    """Apply the rules to each leg, to the next one as far as it is known if no file waits."""
    decision, options, trainer, registry = outlook.decision, dry_run.options, dry_run.trainer, dry_run.registry
    run = home = opened(dry_run.config.run, registry, options)
    if decision.checkpoint is not None and os.path.dirname(decision.checkpoint):  # it is a pin
        home = opened(os.path.join(dry_run.config.run, os.path.dirname(decision.checkpoint)), registry, options)
    resume = checkpoint_in(home, decision.checkpoint)
    plans: list[Plan] = []
    for work in outlook.works:
        every = plans[0].every if plans else None
        plans.append(plan_of(work, trainer, dry_run.processes, resume if not plans else None, outlook.timeline, every))
    first = plans[0] if plans else _idle(dry_run, outlook, resume)
    if plans:
        first.ask_space(lambda: space_of(plans, outlook.works[0].request, trainer, run))
    judgements: tuple[Judgement, ...] = ()
    if outlook.refusal is None or plans:
        judgements = tuple(judged(plan, registry, options) for plan in plans or [first])
    return Forecast(
        config=dry_run.config,
        step=decision.step or 0,
        checkpoint=decision.checkpoint,
        decision=decision,
        legs=tuple(
            PlannedLeg(work, plan, plan.saves, tried)
            for work, plan, tried in zip(outlook.works, plans, outlook.tried, strict=True)
        ),
        later=outlook.later,
        aside=outlook.aside,
        refusal=outlook.refusal,
        notes=outlook.notes,
        plan=first,
        judgements=judgements,
    )


def _idle(dry_run: DryRun, outlook: Outlook, resume: Checkpoint | None) -> Plan:
    """Return the next leg as far as the configuration alone determines it: no file waits."""
    config, step = dry_run.config, outlook.decision.step or 0
    legs = outlook.timeline.legs
    last = legs[-1] if legs and config.decay_steps is not None else None
    request = LegRequest(
        run=config.run,
        resume_from=os.path.join(config.run, resume.name) if resume is not None else None,
        first_step=step,
        last_step=step + 1,  # enough for a schedule without an end, and nothing is trained
        data=LegData("", None, config.data.epochs, 0, config.data.options),
        settings=config.settings,
        seed=config.seed,
        horizon=config.total_steps or (last.horizon if last is not None else None),
        decay_steps=last.decay_steps if last is not None else None,
        processes=dry_run.processes,
    )
    per_step = dry_run.trainer.examples_per_step(config.settings, dry_run.processes)
    return Plan(
        request,
        dry_run.trainer,
        resume=resume,
        sound=resume,
        per_step=per_step,
        processes=dry_run.processes,
        recorded_base=outlook.timeline.base_at(step),
    )
