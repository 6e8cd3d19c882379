"""The loss of one lineage, its boundaries, and the windows before and after a place in it."""

from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from typing import NamedTuple

from audit.boundaries import Boundary
from audit.checkpoint import Checkpoint
from audit.errors import NotApplicable
from audit.formats.history import History
from audit.run import Run
from audit.series import Point, median, series

_REWARDS = ("objective/", "policy/", "val/ratio")


class Losses(NamedTuple):
    """The finite losses of one lineage, newest history, and the boundaries within them."""

    lineage: Sequence[Checkpoint]
    points: list[Point]
    boundaries: tuple[Boundary, ...]


def losses_of(run: Run, include_rl: bool) -> list[Losses]:
    """Return the losses of each lineage. Raises NotApplicable where there is none, or only of reinforcement learning."""
    found = []
    reason = "no training loss was logged"
    for lineage, boundaries in zip(run.lineages, run.boundaries, strict=True):
        history = lineage[-1].history
        points = _finite(history)
        if not include_rl and is_rl(history.keys, points):
            reason = "reinforcement learning: its loss hovers around 0 and says nothing"
        elif points:
            found.append(Losses(lineage, points, boundaries))
    if not found:
        raise NotApplicable(reason)
    return found


def _finite(history: History) -> list[Point]:
    """The finite losses of a history, kept with it as :func:`series` does."""
    if "loss, finite" not in history.kept:
        history.kept["loss, finite"] = [point for point in series(history, "loss") if isfinite(point.value)]
    return history.kept["loss, finite"]  # type: ignore[no-any-return]


def is_rl(keys: Iterable[str], points: Sequence[Point]) -> bool:
    """Rewards are logged (DPO and its kin log ``rewards/chosen`` only, and are no RL), or the loss changes its sign."""
    if any(point.value < 0 for point in points):
        return True
    return any(key == "reward" or key.startswith(_REWARDS) for key in keys)


def at_boundaries(losses: Losses, before: int, after: int) -> Iterator[tuple[Boundary, list[float], list[float]]]:
    """Yield each boundary with the last ``before`` and the first ``after`` losses, where there are so many."""
    steps = [point.step for point in losses.points]
    for boundary in losses.boundaries:
        cut = _after(steps, boundary.step)
        if cut >= before and len(steps) - cut >= after:
            values = [point.value for point in losses.points[cut - before : cut + after]]
            yield boundary, values[:before], values[before:]


def _after(steps: Sequence[int], step: int) -> int:
    """Position of the first loss after a step. The log may not ascend, so no bisection."""
    return next((index for index, at in enumerate(steps) if at > step), len(steps))


def first_after(losses: Losses, step: int) -> str | None:
    """Name of the first checkpoint after a step: the first one that what happened there is in."""
    return next((item.name for item in losses.lineage if item.step > step), None)


def rises(before: Sequence[float], after: Sequence[float], share: float) -> bool:
    """The rank rule: all of ``after`` above all of ``before``, and its median up by more than ``share``."""
    return min(after) > max(before) and median(after) > median(before) * (1 + share)


def falls(before: Sequence[float], after: Sequence[float], share: float) -> bool:
    """The mirror of :func:`rises`."""
    return max(after) < min(before) and median(after) < median(before) * (1 - share)


def spread(values: Sequence[float]) -> float:
    """A robust standard deviation: 1.4826 times the median absolute deviation, at least 0.001."""
    middle = median(values)
    return max(0.001, 1.4826 * median(abs(value - middle) for value in values))
