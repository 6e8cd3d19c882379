"""plan/never-saves."""

from collections.abc import Iterator, Mapping
from typing import Any

from audit.plugin import NotApplicable, Plan, Severity, Violation, rule


@rule(
    Severity.ERROR,
    remedy="Save within every batch: save_steps no larger than its steps, or save_strategy epoch, or a max_steps that is "
    "the last step of the batch.",
)
def never_saves(plan: Plan, steps: int, arguments: Mapping[str, Any]) -> Iterator[Violation]:
    """Training ends before the first checkpoint of the batch would be saved.

    Trainer saves at multiples of ``save_steps``, counted from step 0 of the run, and at ``max_steps``. If a batch
    reaches neither, nothing of it is kept: the next one resumes from before it. The ``save_steps`` of the first session
    takes precedence over changed arguments, because it is read from the trainer state (Trainer 5.23,
    trainer_callback.py:586).

    Not checked if `audit train` itself saves at the end of each leg, nor for the strategy ``best``.
    """
    plan.only_where_the_trainer_decides("saves at the end of each leg")
    strategy = arguments.get("save_strategy", "steps")
    if strategy == "no":
        yield Violation(
            f"save_strategy is no: nothing of {plan.file} would be saved", expected="steps or epoch", actual="no"
        )
        return
    if strategy != "steps":
        if strategy == "epoch":
            return
        raise NotApplicable(f"when the strategy {strategy} saves is not known in advance")
    if plan.saves.every < 1:
        raise NotApplicable("save_steps is a share of all steps, and their number is not known")
    horizon = plan.optional("horizon")
    if horizon is None and "save_steps" not in arguments:
        raise NotApplicable("the table [arguments] has neither save_steps nor an end of training")
    first, last, every = plan.request.first_step, plan.request.first_step + steps, plan.saves.every
    if last // every == first // every and (horizon is None or horizon > last):
        yield Violation(
            f"{plan.file} is trained in {steps} steps, {first + 1} to {last}, and none of them is a multiple of save_steps, {every}",
            expected=f"at most {steps}" if first % every == 0 else f"a multiple of {every} up to {last}",
            actual=every,
        )
