"""scheduler/horizon-changed."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from audit.plugin import Checkpoint, NotApplicable, Severity, Violation, rule

if TYPE_CHECKING:
    from audit.plugin import SchedulerState, TrainerState

WSD = "warmup_stable_decay"
SCHEDULES = (
    "linear", "cosine", "cosine_with_restarts", "polynomial", "cosine_with_min_lr", "cosine_warmup_with_min_lr",
    WSD,
)  # fmt: skip
"""Schedules of transformers that depend on the number of steps; constant ones and inverse_sqrt do not."""


@rule(
    Severity.WARNING,
    remedy="Set max_steps to the total of all batches before the first one, or use a constant schedule for batches that arrive "
    "one by one.",
    explained_by=("learning-rate/rose-again", "learning-rate/off-schedule", "history/forked", "steps/beyond-schedule"),
)
def horizon_changed(
    checkpoint: Checkpoint,
    scheduler: "SchedulerState",
    state: "TrainerState",
    arguments: Mapping[str, Any],
    previous: Checkpoint,
) -> Iterator[Violation]:
    """The length of the schedule differs from the previous checkpoint's.

    ``scheduler.pt`` has a position, not the length: with a larger ``max_steps`` the rest of a decaying schedule is
    silently stretched, and the learning rate jumps up where the next batch begins.

    Reported at the first change of a lineage, and only for schedules that depend on the length, as named in the
    training arguments. Not reported: a ``max_steps`` that grows with every batch under a constant schedule, and a
    plateau (warmup_stable_decay) that becomes longer before its decay begins.
    """
    name = arguments.get("lr_scheduler_type")
    if scheduler.kind != "lambda" or name not in SCHEDULES:
        raise NotApplicable("the schedule does not depend on its length")
    options = arguments.get("lr_scheduler_kwargs")
    if name == WSD and isinstance(options, dict) and options.get("num_stable_steps") is not None:
        raise NotApplicable("the schedule has fixed lengths of its own")
    before = previous.state.max_steps
    if state.max_steps is None or before is None:
        raise NotApplicable("the trainer state has no max_steps")
    if state.max_steps != before:
        if not _changed(previous, checkpoint):
            raise NotApplicable("the rate is on its plateau, which only became longer")
        first = _first_change(checkpoint)
        if first is not checkpoint:
            raise NotApplicable(f"the length changed before, at {first.name}, and is reported there")
        yield Violation(
            f"the {name} schedule ends at step {state.max_steps}, but at step {before} in {previous.name}",
            file=checkpoint.layout.state,
            expected=before,
            actual=state.max_steps,
        )


def _first_change(checkpoint: Checkpoint) -> Checkpoint:
    """The first checkpoint of the lineage whose schedule has another length than that of the one before it."""
    lineage = checkpoint.run.lineage_of(checkpoint)
    return next((after for before, after in pairwise(lineage) if _changed(before, after)), checkpoint)


def _changed(before: Checkpoint, after: Checkpoint) -> bool:
    """Whether the length of the schedule changed, and with it the rates to come."""
    lengths = [state.max_steps if (state := item.optional("state")) else None for item in (before, after)]
    if None in lengths or lengths[0] == lengths[1]:
        return False
    return not all(_on_plateau(item, before.step) for item in (before, after))


def _on_plateau(checkpoint: Checkpoint, step: int) -> bool:
    """Whether the decay of a warmup-stable-decay schedule begins at ``step`` or later: until then its end is open."""
    arguments = checkpoint.optional("arguments") or {}
    options = arguments.get("lr_scheduler_kwargs")
    decay = options.get("num_decay_steps") if isinstance(options, dict) else None
    state = checkpoint.optional("state")
    if arguments.get("lr_scheduler_type") != WSD or not isinstance(decay, int) or state is None:
        return False
    return step <= (state.max_steps or 0) - decay
