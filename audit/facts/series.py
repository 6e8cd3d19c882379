"""Series of numbers in a log history: losses, learning rates, epochs, each with its step."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from math import isfinite
from typing import Any, NamedTuple

from audit.formats.history import History


class Point(NamedTuple):
    """One logged number; ``value`` may be NaN or infinite, both of which Trainer writes."""

    step: int
    value: float


def step_of(entry: Mapping[str, Any]) -> int | None:
    """The step of a log entry; None where it is no non-negative integer (steps/invalid-state reports that)."""
    step = entry.get("step")
    return step if type(step) is int and step >= 0 else None


def series(entries: "Iterable[Mapping[str, Any]] | History", key: str) -> list[Point]:
    """The numbers logged under ``key``, in the order of the log; entries without a step or a number are left out.

    Those of a whole history are kept with it: treat them as read-only.
    """
    if isinstance(entries, History):
        if key not in entries.kept:
            entries.kept[key] = series(list(entries), key)
        return entries.kept[key]  # type: ignore[no-any-return]
    pairs = [(entry.get("step"), entry.get(key)) for entry in entries]
    found = [
        pair if type(pair[1]) is float else (pair[0], _float(pair[1]))
        for pair in pairs
        if type(pair[1]) in (float, int) and type(pair[0]) is int
    ]
    # The same as Point(*pair) for each, several times as fast: logs have a hundred thousand entries.
    return list(map(tuple.__new__, repeat(Point), found))


class Bucket(NamedTuple):
    """Neighbouring numbers: the ``step`` in their middle, their median, least and greatest; None where none is finite.

    ``odd`` is the first that is not finite, None where all are, and ``odds`` how many there are.
    """

    step: int
    middle: float | None
    low: float | None
    high: float | None
    odd: Point | None
    odds: int


def thin(points: Sequence[Point], most: int, largest: float = float("inf")) -> list[Bucket]:
    """Put a long series into at most ``most`` buckets of equal count, so that no spike and no NaN gets lost.

    Numbers beyond ``largest`` count as not finite.
    """
    size = max(1, -(-len(points) // max(1, most)))
    found = []
    for start in range(0, len(points), size):
        chunk = points[start : start + size]
        values = [point.value for point in chunk if isfinite(point.value) and abs(point.value) <= largest]
        odd = [point for point in chunk if not (isfinite(point.value) and abs(point.value) <= largest)]
        step = chunk[len(chunk) // 2].step
        middle, low, high = (median(values), min(values), max(values)) if values else (None, None, None)
        found.append(Bucket(step, middle, low, high, odd[0] if odd else None, len(odd)))
    return found


def fresh_series(history: History, key: str) -> list[Point]:
    """Like :func:`series`, of the entries that the checkpoint before did not have."""
    return series(history if history.base is None else history.fresh, key)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # JSON knows integers of any length
        return float("inf")


def median(values: Iterable[float]) -> float:
    """The median of at least one number."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def tail(history: "History", key: str, count: int) -> list[Point]:
    """The last ``count`` numbers logged under ``key``, oldest first, without walking through the whole history."""
    found: list[Point] = []
    link: History | None = history
    while link is not None and len(found) < count:
        found[:0] = series(link.own, key)[-(count - len(found)) :]
        link = link.base
    return found
