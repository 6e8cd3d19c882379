"""Whether a resume from a checkpoint continues something."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from audit.plugin import Checkpoint

if TYPE_CHECKING:
    from audit.plugin import TrainerState


def goes_on(checkpoint: Checkpoint, state: "TrainerState") -> bool:
    """Whether a resume from a checkpoint has something left to train: a leg's end is not the end of a training.

    To be asked last: what a rule finds with the run's ledger is not remembered.
    """
    return not (state.max_steps and state.global_step >= state.max_steps) or in_legs(checkpoint)


def in_legs(checkpoint: Checkpoint) -> bool:
    """Whether `audit train` trains the run, and so controls the order of its data. To be asked last, too."""
    return bool(checkpoint.run.records.batches.legs)


def whole(arguments: Mapping[str, Any], name: str) -> int:
    """An argument that is a positive whole number, else 0."""
    value = arguments.get(name)
    return value if type(value) is int and value > 0 else 0
