"""learning-rate/off-schedule."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from audit.plugin import Checkpoint, Layout, NotApplicable, Schedule, Severity, Violation, rule, tail

if TYPE_CHECKING:
    from audit.plugin import SchedulerState, TrainerState

_LOGGED = 20
"""Logged rates that show whether this run follows the schedule of its arguments."""


@rule(
    Severity.ERROR,
    remedy="Resume from another checkpoint; scheduler.pt, or max_steps in the trainer state, was changed.",
    explained_by=("scheduler/step-mismatch", "steps/directory-mismatch"),
)
def off_schedule(
    checkpoint: Checkpoint,
    state: "TrainerState",
    scheduler: "SchedulerState",
    arguments: Mapping[str, Any],
    layout: Layout,
    *,
    tolerance: float = 1e-6,
) -> Iterator[Violation]:
    """The learning rate in scheduler.pt does not match the schedule at its step.

    ``_last_lr`` is the base rate times the schedule's factor at ``last_epoch``, with warm-up and type from the training
    arguments and ``max_steps`` from the trainer state; true of 418 of 418 checkpoints. On a resume the ``base_lrs`` of
    the file take precedence over the ``learning_rate`` argument (Trainer 5.23), so if they are doubled, training
    continues at the doubled rate. Each base rate is also the ``initial_lr`` of its group in the optimizer (438 of 438),
    for every scheduler.

    Checked for LambdaLR and the types linear, cosine (also with restarts or a minimum) and constant (also with
    warm-up). A program may use another scheduler than the arguments name, so a deviation counts only if the rates in
    the log follow the formula. ``tolerance`` is relative to the base rate.
    """
    foreign = _foreign_base(checkpoint, scheduler.base_lrs or [], tolerance)
    if foreign is not None:
        number, initial, own = foreign
        yield Violation(
            f"The base learning rate of group {number} is {own:g} in the scheduler, but the optimizer started with "
            f"{initial:g}: a resume would use the scheduler's",
            file=layout.scheduler,
            expected=initial,
            actual=own,
        )
        return
    kind = arguments.get("lr_scheduler_type")
    if scheduler.kind != "lambda" or not Schedule.of(arguments, 0, None).exact:
        raise NotApplicable(f"no formula for the schedule {kind if scheduler.kind == 'lambda' else scheduler.kind}")
    step, bases, rates = scheduler.last_epoch, scheduler.base_lrs, scheduler.last_lr
    if step is None or not bases or not rates or len(bases) != len(rates):
        raise NotApplicable("scheduler.pt has no last_epoch, base_lrs and _last_lr of one length")
    horizon = state.max_steps
    if not horizon or horizon < 0:
        raise NotApplicable("the trainer state has no max_steps")
    options = arguments.get("lr_scheduler_kwargs") or {}
    if not isinstance(options, dict):
        raise NotApplicable("lr_scheduler_kwargs is not an object")
    base = arguments.get("learning_rate")
    base = base if isinstance(base, int | float) else bases[0]
    # One warm-up that explains all rates is enough; the first is the current version's.
    shares = _shares(Schedule.of(arguments, horizon, base), step)
    wrong = min((_wrong(share, bases, rates, tolerance) for share in shares), key=len)
    if not wrong:
        return
    follows = _horizon_of_log(checkpoint, state, base, bases, arguments, tolerance)
    number, expected, actual = wrong[0]
    group = f" of group {number}" if len(rates) > 1 else ""
    text = (
        f"The learning rate{group} is {actual:.6g}, but the {kind} schedule gives {expected:.6g} "
        f"at step {step} of {horizon} with a base rate of {bases[number]:g}"
    )
    file = layout.scheduler
    if follows != horizon:
        text += f"; the logged rates follow max_steps {follows}, so max_steps in the trainer state was changed"
        file = checkpoint.backend.state_file
    yield Violation(text, file=file, expected=expected, actual=actual)


def _foreign_base(checkpoint: Checkpoint, bases: list[float], tolerance: float) -> tuple[int, float, float] | None:
    """The first group whose base rate is not the optimizer's initial one: number, initial and base rate."""
    optimizer = checkpoint.optional("optimizer")
    if optimizer is None or len(optimizer.groups) != len(bases):
        return None
    for number, (group, own) in enumerate(zip(optimizer.groups, bases, strict=True)):
        initial = group.get("initial_lr")
        if isinstance(initial, int | float) and not abs(own - initial) <= tolerance * max(abs(own), abs(initial)):
            return number, initial, own
    return None


def _wrong(share: float, bases: list[float], rates: list[float], tolerance: float) -> list[tuple[int, float, float]]:
    """Group, expected and actual rate of each group that does not follow."""
    return [
        (number, own * share, rate)
        for number, (own, rate) in enumerate(zip(bases, rates, strict=True))
        if not abs(own * share - rate) <= tolerance * abs(own)
    ]


def _shares(schedule: Schedule, step: int) -> tuple[float, ...]:
    """The factors at a step, one for each way to read the warm-up. Raises NotApplicable if there is none."""
    found = schedule.at(step)
    if not found:
        raise NotApplicable(f"the arguments of the schedule {schedule.kind} are not understood")
    return found


def _horizon_of_log(
    checkpoint: Checkpoint,
    state: "TrainerState",
    own: float,
    bases: list[float],
    arguments: Mapping[str, Any],
    tolerance: float,
) -> int:
    """Return the ``max_steps`` that the logged rates follow. Raises NotApplicable if they follow none."""
    points = [point for point in tail(checkpoint.history, "learning_rate", _LOGGED) if point.step > 0]
    previous = checkpoint.optional("previous")
    earlier = previous.optional("state") if previous is not None else None
    horizons = [state.max_steps, arguments.get("max_steps"), earlier.max_steps if earlier is not None else None]
    candidates = [arguments.get("learning_rate"), bases[0], _initial(checkpoint)]
    lag = 8 if checkpoint.optional("scaler") is not None else 0  # steps that a gradient scaler skipped
    for horizon in horizons:
        if not isinstance(horizon, int) or horizon <= 0:
            continue
        schedule = Schedule.of(arguments, horizon, own)
        for base in candidates:
            if not isinstance(base, int | float) or base <= 0:
                continue
            # Since 4.51 the rate that a step used is logged, before that the one after it.
            fits = sum(
                any(
                    abs(base * share - point.value) <= tolerance * base
                    for shift in range(lag + 2)
                    for share in _shares(schedule, max(0, point.step - shift))
                )
                for point in points
            )
            if fits >= 2 and fits >= len(points) - 1:
                return horizon
    raise NotApplicable(
        f"the logged learning rates do not follow the schedule {arguments['lr_scheduler_type']}: "
        "the program uses its own scheduler"
    )


def _initial(checkpoint: Checkpoint) -> Any:
    optimizer = checkpoint.optional("optimizer")
    return optimizer.groups[0].get("initial_lr") if optimizer is not None and optimizer.groups else None
