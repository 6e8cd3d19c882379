"""The loss of one lineage, its boundaries, and the windows before and after a place in it."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from typing import NamedTuple

from audit.plugin import Boundary, Checkpoint, History, NotApplicable, Point, Run, Timeline, series

_REWARDS = ("objective/", "policy/", "val/ratio")


class Losses(NamedTuple):
    """The finite losses of one lineage, newest history, and the boundaries within them.

    ``unseen`` are those of examples that were trained for the first time: if a data file is trained for several
    epochs, the loss falls with each, and a new file is compared with what was new before.
    """

    lineage: Sequence[Checkpoint]
    points: list[Point]
    boundaries: tuple[Boundary, ...]
    unseen: list[Point]


def losses_of(run: Run, include_rl: bool) -> list[Losses]:
    """Return the losses of each lineage. Raises NotApplicable if there are none, or only of reinforcement learning."""
    found = []
    reason = "no training loss was logged"
    for lineage, boundaries in zip(run.lineages, run.boundaries, strict=True):
        history = lineage[-1].history
        points = _finite(history)
        if not include_rl and is_rl(history.keys, points):
            reason = "reinforcement learning: its loss stays around 0 and says nothing"
        elif points:
            found.append(Losses(lineage, points, boundaries, _unseen(points, run.records.batches)))
    if not found:
        raise NotApplicable(reason)
    return found


def _finite(history: History) -> list[Point]:
    """The finite losses of a history, kept with it as :func:`series` does."""
    if "loss, finite" not in history.kept:
        history.kept["loss, finite"] = [point for point in series(history, "loss") if isfinite(point.value)]
    return history.kept["loss, finite"]  # type: ignore[no-any-return]


def _unseen(points: list[Point], batches: Timeline) -> list[Point]:
    if not any(leg.epochs != 1 for leg in batches.legs):
        return points
    return [point for point in points if batches.unseen(point.step)]


def is_rl(keys: Iterable[str], points: Sequence[Point]) -> bool:
    """Whether rewards are logged, or losses are negative; DPO and the like log ``rewards/chosen`` and are not RL."""
    if any(point.value < 0 for point in points):
        return True
    return any(key == "reward" or key.startswith(_REWARDS) for key in keys)


def at_boundaries(losses: Losses, before: int, after: int) -> Iterator[tuple[Boundary, list[float], list[float]]]:
    """Yield each boundary with the last ``before`` and the first ``after`` losses, if there are that many."""
    every, new = Places(losses.points), Places(losses.unseen)
    for boundary in losses.boundaries:
        points, places = (losses.unseen, new) if boundary.new_data else (losses.points, every)
        cut = places.after(boundary.step)
        if cut >= before and len(points) - cut >= after:
            values = [point.value for point in points[cut - before : cut + after]]
            yield boundary, values[:before], values[before:]


def begins_again(losses: Losses, old: Sequence[float], new: Sequence[float], fallen: float, back: float) -> bool:
    """Whether the loss had fallen by more than ``fallen`` and is back by ``back`` of the way to the run's start."""
    count = len(new)
    first = median([point.value for point in losses.points[:count]])
    low, high = median(old), median(new)
    return first > low * (1 + fallen) and min(new) > max(old[-count:]) and high - low >= back * (first - low)


class Places:
    """Where in a log a step is: found by bisection, unless the log does not ascend."""

    def __init__(self, points: Sequence[Point]) -> None:
        self._steps = [point.step for point in points]
        self._ascending = self._steps == sorted(self._steps)

    def after(self, step: int) -> int:
        """Position of the first point after a step."""
        if self._ascending:
            return bisect_right(self._steps, step)
        return next((index for index, at in enumerate(self._steps) if at > step), len(self._steps))


def first_after(losses: Losses, step: int) -> str | None:
    """Name of the first checkpoint after a step: the first that includes what happened there."""
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


def median(values: Iterable[float]) -> float:
    """The median of at least one number."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
