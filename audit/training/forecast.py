"""What `audit train` would do now, without doing any of it: the same session, on books that nobody keeps.

Nothing is recorded, moved or made, and nothing is trained. Each leg that the session asks for is taken for done, and the
next one follows on it. What could go wrong in the meantime is not foreseen.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from audit.backend.names import name_of
from audit.backend.training import LegData, LegRequest, Note, TrainingBackend
from audit.facts.checkpoint import Checkpoint
from audit.facts.plan import Plan, Saves
from audit.findings import Finding, Severity
from audit.judging.decision import Decision
from audit.judging.engine import Judgement
from audit.judging.guard import consult
from audit.ledger.events import DUPLICATE, FINISHED, REJECTED, BatchEvent, Duplicate, Finished, Rejected, Retired
from audit.ledger.store import Row
from audit.ledger.timeline import Timeline, timeline_of
from audit.manager import Registry
from audit.retention.lock import holder_of
from audit.text import utc_time
from audit.training.batch_log import Books
from audit.training.config import Data, TrainConfig
from audit.training.events import Event
from audit.training.inbox import DataFile, settled
from audit.training.preflight import checkpoint_at, judged, plan_of, space_of
from audit.training.run_state import TrainRefused
from audit.training.session import Session
from audit.training.shelf import Shelf
from audit.training.work import Work, begun


class Foreseen(NamedTuple):
    """One leg to come; ``saves`` are the checkpoints that it will leave, before rotation."""

    work: Work
    plan: Plan
    saves: Saves

    @property
    def rows(self) -> int | None:
        """Rows of the data file."""
        return self.work.examples // self.work.epochs if self.work.examples is not None else None

    @property
    def examples(self) -> int | None:
        """Examples that the leg trains: rows x epochs, less what was trained of a batch that was begun."""
        return self.work.examples - self.work.request.data.first if self.work.examples is not None else None

    @property
    def steps(self) -> int | None:
        """Steps of the leg."""
        request = self.work.request
        return request.last_step - request.first_step if request.last_step is not None else None


class Aside(NamedTuple):
    """A file that would not be trained: ``event`` is "rejected" or "duplicate"."""

    file: str
    event: str
    reason: str


class Forecast(NamedTuple):
    """What is to come. ``refusal``: why nothing, or nothing more, would be trained; ``later``: files behind that.

    ``plan`` is the first leg, or what the configuration means for the next one where no file waits. ``judgements`` has those
    of the legs in order.
    """

    config: TrainConfig
    step: int
    checkpoint: str | None
    decision: Decision
    legs: tuple[Foreseen, ...]
    later: tuple[str, ...]
    aside: tuple[Aside, ...]
    refusal: str | None
    notes: tuple[str, ...]
    plan: Plan
    judgements: tuple[Judgement, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Of all legs, the worst first."""
        found = [item for judgement in self.judgements for item in judgement.findings]
        return tuple(sorted(found, key=lambda item: -item.severity.rank))

    @property
    def works(self) -> bool:
        """Whether all of it would be trained, as far as can be foreseen."""
        errors = any(item.severity is Severity.ERROR for item in self.findings)
        return not (errors or self.refusal or any(item.event == REJECTED for item in self.aside))


def foresee(
    config: TrainConfig,
    trainer: TrainingBackend,
    registry: Registry,
    *,
    processes: int | None = None,
    decay: bool = False,
    skip_lost: bool = False,
    allow_fresh: bool = False,
) -> Forecast:
    """Plan what waits in the inbox. ``processes`` None: as many as last time. Raises AuditError."""
    notes: list[str] = []
    books = _Books(config.run)
    foresight = _Foresight(
        config,
        trainer,
        registry,
        books,
        notes,
        processes=processes or _as_before(books.timeline()),
        decay=decay,
        skip_lost=skip_lost,
        allow_fresh=allow_fresh,
    )
    return foresight.look()


def plan_at(config: TrainConfig, trainer: TrainingBackend, registry: Registry, decision: Decision) -> Forecast:
    """Judge the next leg from where the guard would let it resume; that of no file where none waits. Raises AuditError."""
    books = _Books(config.run)
    foresight = _Foresight(
        config, trainer, registry, books, [], decided=decision, processes=_as_before(books.timeline())
    )
    return foresight.look(only_first=True)


def _as_before(timeline: Timeline) -> int:
    """How many processes trained last, 1 where nobody knows."""
    return timeline.legs[-1].processes if timeline.legs else 1


class _Books(Books):
    """The ledger as it is, and rows that are only thought of."""

    def __init__(self, run: str) -> None:
        super().__init__(run)
        from audit.ledger.store import open_ledger

        ledger = open_ledger(run, False) if os.path.isdir(run) else None
        self._kept: list[Row] = []
        if ledger is not None:
            try:
                self._kept = list(ledger.rows())
            finally:
                ledger.close()

    def timeline(self) -> Timeline:
        return timeline_of(self._kept)

    def events(self) -> list[BatchEvent]:
        return [row.event for row in self._kept if isinstance(row.event, BatchEvent)]

    def record(self, event: BatchEvent) -> None:
        self._kept.append(Row(len(self._kept) + 1, utc_time(), *event.row()))


class _Shelf(Shelf):
    """The files as they will lie."""

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self.gone: set[str] = set()

    def waiting(self) -> tuple[DataFile, ...]:
        return tuple(file for file in super().waiting() if file.path not in self.gone)


class _Foresight(Session):
    """A session that only looks."""

    def __init__(
        self,
        config: TrainConfig,
        trainer: TrainingBackend,
        registry: Registry,
        books: _Books,
        notes: list[str],
        *,
        decided: Decision | None = None,
        **wishes: Any,
    ) -> None:
        self.notes = notes
        settle = config.watch.settle_seconds
        config = config._replace(watch=config.watch._replace(settle_seconds=0.0))
        self._virtual = _Shelf(config.data)
        super().__init__(config, trainer, registry, self._collect, books=books, shelf=self._virtual, **wishes)
        self.options = config.verify._replace(ledger=False)
        self._decided = decided
        self._asides: list[Aside] = []
        fresh = [file.name for file in self._shelf.waiting() if settled(file, settle)]
        notes += [f"{name} changed a moment ago; it is planned as it is now" for name in fresh]

    def look(self, only_first: bool = False) -> Forecast:
        """Go through what waits."""
        decision = self._decided or self._consulted()
        name = os.path.basename(decision.checkpoint) if decision.checkpoint else None
        step, checkpoint = decision.step or 0, name
        actual = os.path.join(self.config.run, decision.checkpoint) if decision.checkpoint else None
        resume = checkpoint_at(actual, self.registry, self.options)
        refusal = f"{self.config.run}: {decision.refusal}" if decision.refusal is not None else None
        works: list[Work] = []
        while refusal is None:
            timeline = self._books.timeline()
            if self._retire(timeline):
                continue
            try:
                found = self._choose(timeline, step, checkpoint)
            except TrainRefused as error:
                refusal = str(error)
                break
            if found is None:
                break
            if not isinstance(found, Work):
                continue
            works.append(found)
            last = found.request.last_step
            if last is None or only_first:
                break  # what follows begins at a step that is not known
            self._books.record(begun(found, self.processes))
            self._prove(found.batch, found.file.name, found.begun, last, found.examples)
            step, checkpoint = last, name_of(last)
        taken = {work.file.path for work in works}
        later = () if only_first else tuple(item.name for item in self._shelf.waiting() if item.path not in taken)
        return self._forecast(decision, works, later, refusal, resume)

    def _forecast(
        self,
        decision: Decision,
        works: Sequence[Work],
        later: tuple[str, ...],
        refusal: str | None,
        resume: Checkpoint | None,
    ) -> Forecast:
        plans: list[Plan] = []
        for work in works:
            every = plans[0].every if plans else None
            plans.append(plan_of(work, self.trainer, self.processes, resume if not plans else None, every))
        first = plans[0] if plans else self._idle(decision, resume)
        if plans:
            first.ask_space(lambda: space_of(plans, works[0].request, self.trainer, self.registry, self.options))
        judgements: tuple[Judgement, ...] = ()
        if refusal is None or plans:
            judgements = tuple(judged(plan, self.registry, self.options) for plan in plans or [first])
        return Forecast(
            config=self.config,
            step=decision.step or 0,
            checkpoint=decision.checkpoint,
            decision=decision,
            legs=tuple(Foreseen(work, plan, plan.saves) for work, plan in zip(works, plans, strict=True)),
            later=later,
            aside=tuple(self._asides),
            refusal=refusal,
            notes=tuple(self.notes),
            plan=first,
            judgements=judgements,
        )

    def _idle(self, decision: Decision, resume: Checkpoint | None) -> Plan:
        """The next leg as far as the configuration alone says it: no file waits."""
        config = self.config
        legs = self._books.timeline().legs
        last = legs[-1] if legs and config.decay_steps is not None else None
        request = LegRequest(
            run=config.run,
            resume_from=os.path.join(config.run, resume.name) if resume is not None else None,
            first_step=decision.step or 0,
            # a step is enough for a schedule without an end, and nothing is trained
            last_step=(decision.step or 0) + 1,
            data=LegData("", None, config.data.epochs, 0, config.data.options),
            settings=config.settings,
            seed=config.seed,
            horizon=config.total_steps or (last.horizon if last is not None else None),
            decay_steps=last.decay_steps if last is not None else None,
        )
        per_step = self.trainer.examples_per_step(config.settings, self.processes)
        return Plan(request, self.trainer, resume=resume, sound=resume, per_step=per_step, processes=self.processes)

    def _consulted(self) -> Decision:
        """What the guard would hand out, nothing recorded. What a leg of ours did not save to its end is no hindrance."""
        config = self.config
        holder = holder_of(config.run)
        if holder is not None:
            self.notes.append(f"{config.run} {holder}; what that has done by then is not planned again")
        decision = consult(config.run, self._standing.limits, self.options, registry=self.registry).decision
        if decision.refusal is None or not os.path.isdir(config.run):
            return decision
        run = self._standing.opened()
        torn = {item.name for item in self._standing.torn(self._books.timeline(), 0)}
        if torn and torn >= {item.name for item in run.checkpoints} and not run.records.highest_reached:
            self.notes.append(f"{', '.join(sorted(torn))}: not saved to the end, would be removed")
            return Decision(None, None, True, None, ())
        return decision

    def _collect(self, event: Event) -> None:
        if isinstance(event, Note):
            self.notes.append(event.text)

    def _prove(self, digest: str, name: str, begun: int, step: int, examples: int | None) -> None:
        self._books.record(Finished(digest, name, begun, step, examples, f"checkpoint-{step}", (), 0.0))

    def _retire(self, timeline: Timeline) -> bool:
        done = [item for item in timeline.batches if item.state == FINISHED]
        for batch in done:
            file = self._shelf.find(batch, inbox=True)
            if file is not None:
                self._virtual.gone.add(file.path)
            self._books.record(Retired(batch.digest, batch.file, None))
        return bool(done)

    def _aside(self, file: DataFile, row: Rejected | Duplicate) -> None:
        self._virtual.gone.add(file.path)
        self._books.record(row)
        event = REJECTED if isinstance(row, Rejected) else DUPLICATE
        self._asides.append(Aside(file.name, event, row.reason or ""))
