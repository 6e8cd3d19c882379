"""The likely cause of a difference, by what differs first and when: docs/rehearse.md has the pattern of each damage."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from audit.backend.rehearsal import OPTIMIZER, RANDOM, SCHEDULER, WEIGHTS

EXAMPLES, RATE, LOSS, GRAD_NORM = "examples", "learning rate", "loss", "gradient norm"
"""What is compared of a step."""
END = "training"
"""What ended before a step that was logged."""
DATA, BASE = "data", "base model"
"""What is compared before anything is loaded."""


class Difference(NamedTuple):
    """``quantity`` is ``found`` where ``expected`` should be, in words.

    ``step`` None: before the first step, in what was restored. ``relative``: by how much, None if that is no number.
    """

    step: int | None
    quantity: str
    expected: str
    found: str
    relative: float | None


_NOT_LOADED = {
    WEIGHTS: "the weights of the checkpoint were not loaded as they are in its files: another model, an adapter of another "
    "shape or name, or code that changes them after the load",
    OPTIMIZER: "the optimizer's state was not loaded as it is in its file: another optimizer or other groups of parameters, or "
    "code that changes it after the load",
    SCHEDULER: "the schedule was not loaded as it is in its file: another kind of schedule, or code that changes it",
    RANDOM: "the random states were not loaded as they are in their file: another number of processes or devices",
}


def likely_cause(
    differences: Sequence[Difference], begin: int, draws: bool | None, missing: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return the likely cause; ``begin`` is the step of the checkpoint, ``draws``: the first step draws at random.

    ``missing``: why a part was not restored at all, by part.

    An optimizer's moments are first used by the first update, so they show one step later than weights do.
    """
    first = differences[0]
    if first.quantity == BASE:
        return "the base model is not the one that was trained on"
    if first.step is None and {SCHEDULER: OPTIMIZER, OPTIMIZER: SCHEDULER}.get(first.quantity) in missing:
        other = OPTIMIZER if first.quantity == SCHEDULER else SCHEDULER
        return f"{missing[other]}: Trainer loads optimizer and schedule together or not at all, and both begin anew"
    if first.step is None:
        return _NOT_LOADED.get(first.quantity, f"the {first.quantity} is another one")
    together = {item.quantity for item in differences if item.step == first.step}
    place = first.step - begin
    if EXAMPLES in together:
        return "the data: the step takes other examples than the ledger says"
    if END in together:
        return (
            "the training ends earlier than the one that was logged: its max_steps, its epochs or the number of its examples "
            "are others"
        )
    for part in _suspects(place, together, bool(draws)):
        if part in missing:
            return f"{missing[part]}: it begins anew there"
    if RATE in together:
        return (
            "the schedule: scheduler.pt or optimizer.pt is of another step or another training, or its kind, its warm-up or its "
            "end (max_steps) is another"
        )
    if place == 1 and LOSS in together:
        chance = (
            "the random state is that of another step or is missing, so dropout draws other masks; or " if draws else ""
        )
        return (
            f"what the first loss is computed from: {chance}the weights or the base model are those of another training, or "
            "the examples, their labels or the batch are others"
        )
    if place == 1:
        return "the gradient, with the same loss: other parameters are trained, or another precision or kernel is used"
    if together & {LOSS, GRAD_NORM}:
        if place == 2:
            return (
                "the first update: the optimizer's moments or settings are those of another training or step, or the gradients "
                "are clipped otherwise (max_grad_norm)"
            )
        return "a small difference that grew: one of weights or moments, or another kernel, precision or version of a library"
    return "the state at the end of these steps is not the one that was saved there, though the log is the same"


def _suspects(place: int, together: Collection[str], draws: bool) -> tuple[str, ...]:
    """Return the parts of the state that would show so if they began anew."""
    if RATE in together:
        return (SCHEDULER, OPTIMIZER)
    if place == 1:
        return (RANDOM,) if draws and LOSS in together else ()
    return (OPTIMIZER,) if place == 2 else ()
