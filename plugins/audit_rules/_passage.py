"""Whether training continued over a boundary with the weights and moments from before it."""

from collections.abc import Sequence
from typing import NamedTuple

from audit.plugin import Boundary, Checkpoint
from audit_rules._updates import updates

NEAR = 0.15
"""Share of the way back to the beginning. Of 52 resumes by Trainer those that continued made 0.13 of it at most, those
that did not load the weights 0.20 at least, and 0.55 with a checkpoint soon after the boundary."""

OTHER_DATA = "Nothing if new data starts there; otherwise look at the data of these steps."


class Passage(NamedTuple):
    """What the checkpoints say about a boundary: ``on`` is whether training continued over it, None if unknown.

    ``evidence`` is the evidence in words; ``weights`` is whether the weights are part of it.
    """

    on: bool | None
    evidence: str = ""
    weights: bool = False


def passage(lineage: Sequence[Checkpoint], boundary: Boundary, only: frozenset[str] = frozenset()) -> Passage:
    """Return whether weights and moments continued over a boundary.

    The weights must be near those before the boundary, not near those of the start, and the optimizer must have
    counted on. If the weights from before the boundary are gone, ``ignore_data_skip`` and the count of the optimizer
    decide: whoever sets it provides other data. Of the weights those in ``only`` count, if there are any in it.
    """
    before, after = _sides(lineage, boundary)
    if after is None:
        return Passage(None)
    counted = _counted_on(before, after)
    way = after.run.way_back(lineage[0], before, after, only) if before is not None else None
    if before is not None and way is not None:
        on = way < NEAR and counted
        evidence = f"the weights and the optimizer continued from {before.name} to {after.name}" if on else ""
        return Passage(on, evidence, weights=True)
    if counted and (after.optional("arguments") or {}).get("ignore_data_skip") is True:
        return Passage(True, "the optimizer continued, and ignore_data_skip is set")
    return Passage(None if counted else False)


def _sides(lineage: Sequence[Checkpoint], boundary: Boundary) -> tuple[Checkpoint | None, Checkpoint | None]:
    """The checkpoints before and after a boundary, None where there is none."""
    before = next((item for item in reversed(lineage) if item.step <= boundary.step), None)
    return before, next((item for item in lineage if item.step > boundary.step), None)


def _counted_on(before: Checkpoint | None, after: Checkpoint) -> bool:
    count = updates(after)
    if before is None:
        return count is not None and count == after.step
    counted = updates(before)
    return count is not None and counted is not None and 0 < counted < count


def went_on(checkpoint: Checkpoint, tensors: frozenset[str], alone: bool = False) -> bool:
    """Whether the run was resumed with tensors of these names and the weights continued: its program loads them.

    ``alone``: it must be seen in these tensors, for a program may load the others and not them.
    """
    run = checkpoint.run
    for lineage, boundaries in zip(run.lineages, run.optional("boundaries") or (), strict=False):
        if checkpoint not in lineage:
            continue
        for boundary in boundaries:
            if all(item is not None and tensors <= _names(item) for item in _sides(lineage, boundary)):
                found = passage(lineage, boundary, tensors if alone else frozenset())
                if found.on and found.weights:
                    return True
    return False


def _names(checkpoint: Checkpoint) -> frozenset[str]:
    return frozenset(name for file in checkpoint.optional("weights") or () for name in file.tensors)
