"""The facts of a plan: one leg that is to be trained, against the checkpoint that it would resume from.

Rules of the scope ``plan`` are applied to it by `audit plan`, `audit guard --config` and, before each leg,
`audit train`. What is planned comes from the configuration, through the backend
(:class:`audit.backend.training.PlanningBackend`); nothing is trained.
"""

from collections.abc import Callable, Mapping
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.errors import NotApplicable
from audit.facts.fact import Facts, fact
from audit.facts.schedules import ENDLESS, Schedule

if TYPE_CHECKING:
    from audit.backend.training import LegRequest, TrainingBackend
    from audit.facts.checkpoint import Checkpoint
    from audit.facts.space import Space

SAVE_STEPS = 500
"""Trainer's own default."""


class Plan(Facts):
    """One leg as it is planned.

    ``rows`` and ``per_step``: examples in the data file and in one step, None if not known; ``file``: its name, None
    where no file waits. ``processes`` train together. ``resume`` is the checkpoint that the leg resumes from, None for
    a fresh start and where it is only saved by an earlier leg of the same plan; ``every`` is its ``save_steps`` then.
    ``sound``: the newest checkpoint that could be resumed from. ``recorded_base``: the identity of its base model, None
    if not recorded.
    """

    def __init__(
        self,
        request: "LegRequest",
        trainer: "TrainingBackend",
        *,
        resume: "Checkpoint | None" = None,
        sound: "Checkpoint | None" = None,
        file: str | None = None,
        rows: int | None = None,
        per_step: int | None = None,
        processes: int | None = None,
        every: Any = None,
        recorded_base: Mapping[str, str] | None = None,
    ) -> None:
        self.request = request
        self.trainer = trainer
        self.file = file
        self.given_processes = processes
        self._given_every = every
        self._recorded_base = recorded_base
        self._resume, self._sound, self._rows, self._per_step = resume, sound, rows, per_step
        self._ask_space: Callable[[], Space | None] = lambda: None

    def ask_space(self, ask: "Callable[[], Space | None]") -> None:
        """Say how to find out what this leg, or all of them together, need; asked at most once, and only by a rule."""
        self._ask_space = ask

    @property
    def owned(self) -> bool:
        """Whether `audit train` itself sees to the order of the data, the resume and the end of the leg."""
        return self.trainer.owns_order

    def only_where_the_trainer_decides(self, what: str) -> None:
        """Raise NotApplicable if `audit train` does ``what`` itself."""
        if self.owned:
            raise NotApplicable(f"with the backend {self.trainer.name}, audit train {what}")

    @fact
    def resume(self) -> "Checkpoint":
        """The checkpoint to resume from."""
        if self._resume is None:
            fresh = self.request.resume_from is None
            raise NotApplicable("training starts fresh" if fresh else "its checkpoint is not saved yet")
        return self._resume

    @fact
    def sound(self) -> "Checkpoint":
        """The newest checkpoint of the run that can be resumed from, whatever the plan makes of it."""
        if self._sound is None:
            raise NotApplicable("there is no checkpoint that could be resumed from")
        return self._sound

    @fact
    def arguments(self) -> Mapping[str, Any]:
        """The training arguments of the leg, with Trainer's names."""
        asked = getattr(self.trainer, "arguments", None)
        found = asked(self.request) if asked is not None else self.request.settings.get("arguments")
        if not found:
            raise NotApplicable(f"the table [arguments] does not say what {self.trainer.name} passes to its trainer")
        return found  # type: ignore[no-any-return]

    @fact
    def adapter(self) -> Mapping[str, Any] | None:
        """The planned adapter as ``adapter_config.json`` holds one, None for the whole model."""
        return self._of_backend("adapter", "which adapter it trains")  # type: ignore[no-any-return]

    @fact
    def base_model(self) -> str | None:
        """Name or path of the planned base model, None for random weights."""
        return self._of_backend("base_model", "which model it starts from")  # type: ignore[no-any-return]

    @fact
    def base_identity(self) -> Mapping[str, str]:
        """What tells the planned base model from another one, as texts by name; see PlanningBackend.base_identity."""
        asked = getattr(self.trainer, "base_identity", None)
        found = asked(self.request.settings, self.request.seed) if asked is not None else None
        if not found:
            raise NotApplicable(f"the backend {self.trainer.name} does not say what identifies its base model")
        return found  # type: ignore[no-any-return]

    @fact
    def recorded_base(self) -> Mapping[str, str]:
        """The same of the base model that the checkpoint was trained on, as the ledger has it."""
        if not self._recorded_base:
            raise NotApplicable("the ledger does not record the base model")
        return self._recorded_base

    def _of_backend(self, method: str, what: str) -> Any:
        asked = getattr(self.trainer, method, None)
        if asked is None:
            raise NotApplicable(f"the backend {self.trainer.name} does not say {what}")
        return asked(self.request.settings)

    @fact
    def steps(self) -> int:
        """How many steps the leg is to train."""
        self.named_file  # noqa: B018  there is no leg without one
        if self.request.last_step is None:
            raise NotApplicable(
                "how many steps the batch takes is not known: say how many examples one takes (examples_per_step)"
            )
        return self.request.last_step - self.request.first_step

    @fact
    def named_file(self) -> str:
        """The data file of the leg."""
        if self.file is None:
            raise NotApplicable("no data file waits")
        return self.file

    @fact
    def epoch_steps(self) -> int:
        """Steps that it takes to go once through the whole data file, the last partial one included."""
        if self._rows is None or not self._per_step:
            raise NotApplicable("how many steps one epoch of the data file takes is not known")
        return max(1, ceil(self._rows / self._per_step))

    @fact
    def examples_per_step(self) -> int:
        """Examples of one optimizer step over all processes."""
        if not self._per_step:
            raise NotApplicable("how many examples one step takes is not known")
        return self._per_step

    @fact
    def processes(self) -> int:
        """How many processes train together."""
        if not self.owned:
            raise NotApplicable(f"the backend {self.trainer.name} starts the processes itself")
        if self.given_processes is None:
            raise NotApplicable("how many processes will train is not known")
        return self.given_processes

    @fact
    def horizon(self) -> int:
        """``max_steps`` as the trainer would have it: where the schedule ends."""
        arguments = self.arguments
        most = arguments.get("max_steps")
        if isinstance(most, int) and most > 0:
            return most
        epochs = arguments.get("num_train_epochs")
        if isinstance(epochs, int | float) and epochs > 0:
            return ceil(epochs * self.epoch_steps)
        raise NotApplicable("neither max_steps nor num_train_epochs is in the arguments")

    @fact
    def schedule(self) -> Schedule:
        """The planned learning-rate schedule."""
        arguments = self.arguments
        kind = arguments.get("lr_scheduler_type")
        if not isinstance(kind, str):
            raise NotApplicable("the arguments do not name an lr_scheduler_type")
        share = arguments.get("warmup_steps") or arguments.get("warmup_ratio") or 0
        needless = kind in ENDLESS and not (isinstance(share, float) and 0 < share < 1)
        horizon = 0 if needless else self.horizon
        base = arguments.get("learning_rate")
        return Schedule.of(arguments, horizon, float(base) if isinstance(base, int | float) else None)

    @fact
    def saves(self) -> "Saves":
        """When the leg saves."""
        return saves_of(self.optional("arguments") or {}, self.every, self.request, self.optional("horizon"))

    @fact
    def every(self) -> Any:
        """``save_steps`` if the arguments do not decide: the resumed state wins (Trainer 5.23, trainer_callback.py)."""
        if self.owned:
            return None
        state = self.optional("resume") and self.resume.optional("state_document")
        return state.document.get("save_steps") if state and isinstance(state.document, dict) else self._given_every

    @fact
    def space(self) -> "Space":
        """What the checkpoints to come need, and what is free."""
        found = self._ask_space()
        if found is None:
            raise NotApplicable("how large a checkpoint will be, or how many there will be, is not known")
        return found


class Saves(NamedTuple):
    """The checkpoints that a leg saves.

    ``every`` so many steps (0: not by steps), and at the end if ``at_end``. ``number`` in all, None if not known;
    ``certain``: whether it may not be fewer (the strategy "best").
    """

    every: int
    at_end: bool
    number: int | None
    certain: bool = True


def saves_of(arguments: Mapping[str, Any], every: Any, request: "LegRequest", horizon: int | None) -> Saves:
    """Return when a leg saves by Trainer's rules: every ``save_steps``, and by contract at the end of the leg.

    ``every`` stands above the arguments' ``save_steps``. What comes after the end of an epoch is the end of the leg.
    """
    first, last = request.first_step, request.last_step
    strategy = arguments.get("save_strategy") or "steps"
    steps = every if _counts(every) else arguments.get("save_steps", SAVE_STEPS if arguments else 0)
    certain = strategy != "best"
    if strategy == "best":
        steps = arguments.get("eval_steps") or steps
    if not _counts(steps) or strategy not in ("steps", "best"):
        steps = 0
    if 0 < steps < 1:  # a share of all steps: TrainerState.compute_steps
        steps = ceil(steps * horizon) if horizon else 0
    steps = int(steps)
    if last is None:
        return Saves(steps, True, None, certain)
    by_steps = last // steps - first // steps if steps else 0
    extra = last > first and not (steps and last % steps == 0)
    return Saves(steps, extra, by_steps + extra, certain)


def _counts(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
