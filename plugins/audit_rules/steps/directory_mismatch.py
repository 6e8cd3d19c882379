"""steps/directory-mismatch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, Severity, Violation, rule

if TYPE_CHECKING:
    from audit.plugin import TrainerState


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from another checkpoint; if the directory was renamed, give it back the number of its step.",
)
def directory_mismatch(checkpoint: Checkpoint, state: "TrainerState") -> Iterator[Violation]:
    """The number of the directory is not the step that its trainer state holds.

    Trainer 5.23, ``get_last_checkpoint``: takes the highest number and never compares it with ``global_step``. A copy
    of checkpoint-200 named checkpoint-900 is therefore chosen, and 700 steps are trained again without a message; a
    state of another step in the right directory sets schedule and data position wrong. Held in 742 of 742 real
    checkpoints.
    """
    if state.global_step != checkpoint.step:
        yield Violation(
            f"The directory says step {checkpoint.step}, its trainer state says step {state.global_step}: "
            "a resume would not continue where the name promises",
            file=checkpoint.run.backend.state_file,
            expected=checkpoint.step,
            actual=state.global_step,
        )
