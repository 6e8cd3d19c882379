"""Whether a resume from a checkpoint continues something."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from audit.plugin import Checkpoint

if TYPE_CHECKING:
    from audit.plugin import TrainerState


def at_end(state: "TrainerState") -> bool:
    """Whether all steps were trained: of the training, or of a leg of it."""
    return bool(state.max_steps) and state.global_step >= (state.max_steps or 0)


def in_legs(checkpoint: Checkpoint) -> bool:
    """Whether `audit train` trains the run: it controls the order of the data, and goes on where a leg ends.

    To be asked last: what a rule finds with the run's ledger is not remembered.
    """
    return bool(checkpoint.run.records.batches.legs)


def whole(arguments: Mapping[str, Any], name: str) -> int:
    """An argument that is a positive whole number, else 0."""
    value = arguments.get(name)
    return value if type(value) is int and value > 0 else 0
