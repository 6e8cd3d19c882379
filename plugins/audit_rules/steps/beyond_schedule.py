"""steps/beyond-schedule."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, NotApplicable, Severity, Violation, rule

if TYPE_CHECKING:
    from audit.plugin import TrainerState


@rule(
    Severity.ERROR,
    remedy="Resume with max_steps above the step that was reached, or from the last checkpoint of the schedule.",
    explained_by=("steps/directory-mismatch",),
)
def beyond_schedule(checkpoint: Checkpoint, state: "TrainerState", *, epochs: float = 0.01) -> Iterator[Violation]:
    """The run continued past its end: more steps than max_steps, or more epochs than num_train_epochs.

    Trainer 5.23, ``_inner_training_loop``: resuming a finished run whose epoch was incomplete trains one more step, at
    the learning rate of the end of the schedule (mostly 0), and saves it as a checkpoint. Each further resume adds one.
    ``global_step <= max_steps`` is true of 795 of 795 real states, ``epoch <= num_train_epochs`` of 792 of 792.
    ``epochs`` is the share by which the epoch may exceed the limit, for rounding.
    """
    if not state.max_steps or state.max_steps < 0:
        raise NotApplicable("the trainer state has no max_steps")
    file = checkpoint.backend.state_file
    if state.global_step > state.max_steps:
        yield Violation(
            f"Step {state.global_step} is beyond the end of the run: max_steps is {state.max_steps}",
            file=file,
            expected=state.max_steps,
            actual=state.global_step,
        )
        return
    planned = state.num_train_epochs
    if state.epoch is not None and planned and planned > 0 and state.epoch > planned * (1 + epochs):
        yield Violation(
            f"Epoch {state.epoch:g} is beyond the end of the run: num_train_epochs is {planned:g}",
            file=file,
            expected=planned,
            actual=state.epoch,
            remedy="Find out who edited the trainer state; Trainer never writes such an epoch.",
        )
