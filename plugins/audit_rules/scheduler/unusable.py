"""scheduler/unusable."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from audit.plugin import Checkpoint, Layout, Schedule, Severity, Violation, rule, tail
from audit_rules._roles import schedule_in
from audit_rules.scheduler._needs import BASE_KEYS, kind_of_type, lacks

if TYPE_CHECKING:
    from audit.plugin import SchedulerState

_LOGGED = 20
"""Logged rates that show whether the run follows the schedule of its arguments."""


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Restore scheduler.pt from a copy, or resume from an older checkpoint.",
    explained_by=("scheduler/step-mismatch", "optimizer/parameter-mismatch"),
)
def unusable(checkpoint: Checkpoint, layout: Layout, scheduler: "SchedulerState") -> Iterator[Violation]:
    """The scheduler's state lacks what the scheduler needs to continue.

    ``load_state_dict`` of torch checks nothing. Without ``lr_lambdas``, with ``last_epoch`` None or with one base rate
    for two parameter groups the resume crashes; without ``last_epoch`` the schedule silently starts over; with NaN the
    learning rate is NaN or 0 for the rest of the run. Each need was found with torch 2.13 and transformers 5.23 by
    loading a state without it and taking further steps.

    Checked are LambdaLR (all schedules of Trainer but two), ReduceLROnPlateau and GreedyLR; for a scheduler of another
    class, only what every scheduler of torch needs. A state without the keys of any class has lost them if the other
    checkpoints of the run have them; in a run's only checkpoint, unless the logged rates deviate from the schedule of
    the arguments.
    """
    path = schedule_in(layout)
    optimizer = checkpoint.optional("optimizer")
    # Those of a flattened sharded state are put together by what parameters have in common, and may be fewer.
    groups = len(optimizer.groups) if optimizer is not None and layout.scheduler else None
    wrong = lacks(scheduler, _kind(checkpoint, scheduler), groups)
    if wrong:
        yield Violation(f"{path} {wrong}: a resume cannot continue with it", file=path)


def _kind(checkpoint: Checkpoint, scheduler: "SchedulerState") -> str:
    """The kind of scheduler that will load the state."""
    if scheduler.kind != "other" or any(isinstance(key, str) and key not in BASE_KEYS for key in scheduler.values):
        return scheduler.kind
    arguments = checkpoint.optional("arguments") or {}
    expected = kind_of_type(arguments.get("lr_scheduler_type"))
    others = {
        found.kind
        for other in checkpoint.run.lineage_of(checkpoint)
        if other is not checkpoint and (found := other.optional("scheduler")) is not None
    }
    if others:
        return expected if expected in others else scheduler.kind
    if not checkpoint.backend.arguments_file:
        return scheduler.kind  # nothing says which class it is of
    return scheduler.kind if _deviates(checkpoint, arguments) else expected


def _deviates(checkpoint: Checkpoint, arguments: Mapping[str, Any]) -> bool:
    """Whether the logged rates show that the program uses its own scheduler."""
    state, history = checkpoint.optional("state"), checkpoint.optional("history")
    kind, base = arguments.get("lr_scheduler_type"), arguments.get("learning_rate")
    options = arguments.get("lr_scheduler_kwargs") or {}
    if state is None or history is None or not state.max_steps or not isinstance(base, int | float) or not base > 0:
        return False
    if not isinstance(kind, str) or not isinstance(options, dict):
        return False
    points = [point for point in tail(history, "learning_rate", _LOGGED) if point.step > 0]
    schedule = Schedule.of(arguments, state.max_steps, base)
    # Since 4.51 the rate that a step used is logged, before that the one after it.
    shares = [(*schedule.at(point.step - 1), *schedule.at(point.step)) for point in points]
    if len(points) < 2 or not all(shares):
        return False
    fits = sum(
        any(abs(base * share - point.value) <= 1e-6 * base for share in found)
        for point, found in zip(points, shares, strict=True)
    )
    return fits < 2 or fits < len(points) - 1
