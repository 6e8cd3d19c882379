"""Entries of a log, one by one: their step, and those that are new in a checkpoint."""

from collections.abc import Mapping
from typing import Any

from audit.plugin import History, Point, series


def step_of(entry: Mapping[str, Any]) -> int | None:
    """Return the step of a log entry; None if it is not a non-negative integer, which steps/invalid-state reports."""
    step = entry.get("step")
    return step if type(step) is int and step >= 0 else None


def fresh_series(history: History, key: str) -> list[Point]:
    """Return a :func:`series` of the entries that the previous checkpoint does not have."""
    return series(history if history.base is None else history.fresh, key)
