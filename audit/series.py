"""Series of numbers in a log history: losses, learning rates, epochs, each with its step."""

from collections.abc import Iterable, Mapping
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


def series(entries: Iterable[Mapping[str, Any]], key: str) -> list[Point]:
    """The numbers logged under ``key``, in the order of the log; entries without a step or a number are left out.

    Those of a whole history are kept with it: treat them as read-only.
    """
    if isinstance(entries, History):
        kept = entries.kept
        if key not in kept:
            kept[key] = series(list(entries), key)
        return kept[key]  # type: ignore[no-any-return]
    points = []
    for entry in entries:
        value = entry.get(key)
        step = entry.get("step")
        if type(value) in (float, int) and type(step) is int:
            points.append(Point(step, _float(value)))
    return points


def _float(value: float) -> float:
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
