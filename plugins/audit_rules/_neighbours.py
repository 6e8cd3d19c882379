"""The checkpoints beside one in its run."""

from collections.abc import Iterator

from audit.plugin import Checkpoint

BEFORE, AFTER = 0, 1


def beside(checkpoint: Checkpoint, side: int) -> Iterator[Checkpoint]:
    """Yield the judged checkpoints before or after this one, the nearest first."""
    other = checkpoint.neighbours[side]
    while other is not None:
        yield other
        other = other.neighbours[side]


def older(checkpoint: Checkpoint) -> Iterator[Checkpoint]:
    """Yield the judged checkpoints of earlier steps, the nearest first."""
    return (item for item in beside(checkpoint, BEFORE) if item.step < checkpoint.step)


def others(checkpoint: Checkpoint) -> list[Checkpoint]:
    """Return all other complete checkpoints of the run, those that are not judged among them."""
    return [item for item in checkpoint.run.checkpoints if item is not checkpoint and item.complete]
