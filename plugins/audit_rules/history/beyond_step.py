"""history/beyond-step."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, Severity, Violation, rule
from audit_rules._entries import step_of

if TYPE_CHECKING:
    from audit.plugin import History, TrainerState


@rule(
    Severity.ERROR,
    remedy="Do not trust the step of this checkpoint; resume from an older one and find out who edited the state.",
    explained_by=("steps/directory-mismatch", "history/not-ascending"),
)
def beyond_step(checkpoint: Checkpoint, state: "TrainerState", history: "History") -> Iterator[Violation]:
    """The log has entries after the checkpoint's own step.

    Trainer logs, evaluates and then saves, so no entry is later than ``global_step``; true of 793 of 793 real states.
    Otherwise ``global_step`` was set back, and a resume would train the steps in between again, with the schedule ahead
    of them.
    """
    beyond = [step for entry in history.fresh if (step := step_of(entry)) is not None and step > state.global_step]
    if not beyond and history.last is not None:
        last = step_of(history.last)
        beyond = [last] if last is not None and last > state.global_step else []
    if beyond:
        yield Violation(
            f"The log continues to step {max(beyond)}, but the checkpoint is at step {state.global_step}",
            file=checkpoint.backend.state_file,
            expected=state.global_step,
            actual=max(beyond),
            step=max(beyond),
        )
