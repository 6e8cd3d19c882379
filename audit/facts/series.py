"""Series of numbers in a log history: losses, learning rates, epochs, each with its step."""

from collections.abc import Iterable, Mapping
from itertools import repeat
from typing import Any, NamedTuple

from audit.formats.history import History


class Point(NamedTuple):
    """One logged number; ``value`` may be NaN or infinite, both of which Trainer writes."""

    step: int
    value: float


def evaluated(metric: Any) -> str | None:
    """Return the key that ``metric_for_best_model`` is logged under: Trainer takes ``loss`` there for ``eval_loss``."""
    if not isinstance(metric, str) or not metric:
        return None
    return metric if metric.startswith("eval_") else f"eval_{metric}"


def series(entries: "Iterable[Mapping[str, Any]] | History", key: str) -> list[Point]:
    """The numbers logged under ``key``, in the order of the log; entries without a step or a number are left out.

    Those of a whole history are kept with it: treat them as read-only.
    """
    if isinstance(entries, History):
        return _of_history(entries, key)
    pairs = [(entry.get("step"), entry.get(key)) for entry in entries]
    found = [
        pair if type(pair[1]) is float else (pair[0], _float(pair[1]))
        for pair in pairs
        if type(pair[1]) in (float, int) and type(pair[0]) is int
    ]
    # The same as Point(*pair) for each, several times as fast: logs have a hundred thousand entries.
    return list(map(tuple.__new__, repeat(Point), found))


def _of_history(history: History, key: str) -> list[Point]:
    """Those of a whole history; what an earlier checkpoint's has of it is taken from there."""
    added = []
    link: History | None = history
    while link is not None and key not in link.kept:
        added.append(link.own)
        link = link.base
    if link is not history:
        new = series([entry for own in reversed(added) for entry in own], key)
        history.kept[key] = [*link.kept[key], *new] if link is not None else new
    return history.kept[key]  # type: ignore[no-any-return]


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # JSON knows integers of any length
        return float("inf")


def tail(history: "History", key: str, count: int) -> list[Point]:
    """The last ``count`` numbers logged under ``key``, oldest first, without walking through the whole history."""
    found: list[Point] = []
    link: History | None = history
    while link is not None and len(found) < count:
        found[:0] = series(link.own, key)[-(count - len(found)) :]
        link = link.base
    return found
