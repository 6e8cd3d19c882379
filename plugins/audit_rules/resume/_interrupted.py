"""Whether a resume from a checkpoint continues something."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from audit.plugin import Checkpoint, NotApplicable

if TYPE_CHECKING:
    from audit.plugin import TrainerState


def only_if_interrupted(checkpoint: Checkpoint, state: "TrainerState") -> None:
    """Raise NotApplicable at the end of a training, except of a leg: the next one resumes from it."""
    if state.max_steps and state.global_step >= state.max_steps and not checkpoint.run.records.batches.legs:
        raise NotApplicable("the training is at its end")


def whole(arguments: Mapping[str, Any], name: str) -> int:
    """An argument that is a positive whole number, else 0."""
    value = arguments.get(name)
    return value if type(value) is int and value > 0 else 0
