"""learning-rate/scheduler-disagrees."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, Layout, NotApplicable, Severity, Violation, rule
from audit_rules.optimizer._shared import place_of

if TYPE_CHECKING:
    from audit.plugin import OptimizerState, SchedulerState


@rule(
    Severity.ERROR,
    remedy="Resume from another checkpoint; optimizer and scheduler of this one are not of the same step.",
    explained_by=(
        "optimizer/unchanged",
        "optimizer/fresh",
        "optimizer/step-mismatch",
        "optimizer/parameter-mismatch",
        "scheduler/step-mismatch",
        "learning-rate/off-schedule",
        "shards/stale",
        "deepspeed/latest",
        "deepspeed/ranks-disagree",
        "deepspeed/stale-partition",
        "deepspeed/step-mismatch",
    ),
)
def scheduler_disagrees(
    checkpoint: Checkpoint,
    optimizer: "OptimizerState",
    scheduler: "SchedulerState",
    layout: Layout,
    *,
    tolerance: float = 1e-6,
) -> Iterator[Violation]:
    """The learning rates of optimizer and scheduler differ.

    Every scheduler writes its new rates into the optimizer's groups, so ``lr`` of group k is ``_last_lr[k]``: equal in
    145 of 145 real and 450 of 450 generated checkpoints. On a resume the next step uses the optimizer's rate, the one
    after it the scheduler's. If they differ, one of the files is of another step or was edited.

    ``tolerance`` is relative. If the number of groups differs, see optimizer/parameter-mismatch. Not reported for
    PyTorch Lightning, whose modules may set the rates of their optimizer themselves (a warm-up in ``optimizer_step``),
    nor for a state of ``dcp.save`` that holds both, as a script may do the same.
    """
    rates = scheduler.last_lr
    if rates is None:
        raise NotApplicable("the scheduler does not record its learning rates")
    if len(rates) != len(optimizer.groups):
        raise NotApplicable(f"the scheduler has {len(rates)} rates, the optimizer {len(optimizer.groups)} groups")
    wrong = []
    for number, (rate, group) in enumerate(zip(rates, optimizer.groups, strict=True)):
        own = group.get("lr")
        if not isinstance(own, int | float):
            raise NotApplicable("the optimizer keeps its learning rate as a tensor")
        if not abs(own - rate) <= tolerance * max(abs(own), abs(rate)):
            wrong.append((number, own, rate))
    if wrong and (layout.parts or (layout.scheduler is None and layout.kind != "deepspeed")):
        raise NotApplicable("the rates differ, which a module may do itself; the states were saved at once")
    if wrong:
        number, own, rate = wrong[0]
        which = f" (group {number} of {len(rates)})" if len(rates) > 1 else ""
        yield Violation(
            f"The optimizer would take its next step at learning rate {own:.6g}, the scheduler says {rate:.6g}{which}",
            file=place_of(layout),
            expected=rate,
            actual=own,
        )
