"""A long curve as a short one: as many buckets as a chart has columns."""

from collections.abc import Sequence
from math import isfinite
from statistics import median
from typing import NamedTuple

from audit.plugin import Point


class Bucket(NamedTuple):
    """Neighbouring numbers: the ``step`` in their middle, their median, least and greatest; None if none is finite.

    ``odd`` is the first that is not finite, None if all are, and ``odds`` is how many there are.
    """

    step: int
    middle: float | None
    low: float | None
    high: float | None
    odd: Point | None
    odds: int


def thin(points: Sequence[Point], most: int, largest: float = float("inf")) -> list[Bucket]:
    """Put a long series into at most ``most`` buckets of equal count, so that no spike and no NaN is lost.

    Larger numbers than ``largest`` count as not finite.
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
