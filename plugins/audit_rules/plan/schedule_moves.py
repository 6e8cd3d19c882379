"""plan/schedule-moves."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, NotApplicable, Plan, Schedule, Severity, Violation, rule


@rule(
    Severity.ERROR,
    remedy="Keep type, warm-up and end of the schedule: [schedule] total_steps for one that decays, else "
    "constant_with_warmup or warmup_stable_decay; for another rate start a new run from these weights.",
)
def schedule_moves(
    plan: Plan, schedule: Schedule, resume: Checkpoint, *, tolerance: float = 1e-6
) -> Iterator[Violation]:
    """The learning rate would jump: the planned schedule does not continue where the checkpoint stopped.

    On a resume Trainer takes position and base rates from ``scheduler.pt``, but the curve itself (type, warm-up,
    ``max_steps``) from the new arguments. Planned for the end of each batch, a decaying rate falls to 0 and jumps back
    at each boundary; the first step after it is trained at the old rate, the second at the new one.

    Compared at the step of the checkpoint: its ``_last_lr`` with its ``base_lrs`` times the planned curve. A changed
    ``learning_rate`` is not a jump: Trainer 5.23 continues with the old one (plan/setting-ignored). ``tolerance`` is
    relative to the base rate; schedules without a formula are not checked.
    """
    scheduler = resume.scheduler
    step, bases, rates = scheduler.last_epoch, scheduler.base_lrs, scheduler.last_lr
    if scheduler.kind != "lambda":
        raise NotApplicable(f"{resume.name} was trained with a scheduler that has no formula ({scheduler.kind})")
    if step is None or not bases or not rates or len(bases) != len(rates):
        raise NotApplicable(f"scheduler.pt of {resume.name} has no last_epoch, base_lrs and _last_lr of one length")
    shares = schedule.at(step)
    if not shares:
        raise NotApplicable(f"no formula for the schedule {schedule.kind} with these arguments")
    fits = any(
        all(abs(base * share - rate) <= tolerance * abs(base) for base, rate in zip(bases, rates, strict=True))
        for share in shares
    )
    if not fits:
        number = max(range(len(bases)), key=lambda place: abs(bases[place] * shares[0] - rates[place]))
        planned = bases[number] * shares[0]
        end = f" of {schedule.horizon}" if schedule.horizon else ""
        yield Violation(
            f"The learning rate of {resume.name} is {rates[number]:.6g}, and the planned schedule ({schedule.kind}) gives "
            f"{planned:.6g} at step {step}{end}: it would jump",
            expected=rates[number],
            actual=planned,
        )
