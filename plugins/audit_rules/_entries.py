"""Entries of a log, one by one: their step, and those that are new in a checkpoint."""

from collections.abc import Mapping
from typing import Any

from audit.plugin import History, Point, series


def step_of(entry: Mapping[str, Any]) -> int | None:
    """The step of a log entry; None where it is no non-negative integer (steps/invalid-state reports that)."""
    step = entry.get("step")
    return step if type(step) is int and step >= 0 else None


def fresh_series(history: History, key: str) -> list[Point]:
    """Like :func:`series`, of the entries that the checkpoint before did not have."""
    return series(history if history.base is None else history.fresh, key)
