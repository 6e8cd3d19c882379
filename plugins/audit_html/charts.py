"""Which charts a run has, and their numbers as the script of the page reads them."""

from collections.abc import Sequence
from math import isfinite
from typing import Any, NamedTuple

from audit.plugin import Curve, Point, RunCurves
from audit_html.markup import printable
from audit_html.thinning import Bucket, thin

BUCKETS = 40_000
"""In the whole page, each about thirty bytes: less than 2 MB for any page that fits a screen."""
MOST, LEAST = 1200, 60
"""Buckets of one curve: as many as a wide chart has columns."""
LARGEST, SMALLEST = 1e100, 1e-100
"""Larger numbers are drawn as marks, smaller ones as 0: the axes end here."""

TITLES = {
    "loss": "Loss",
    "learning_rate": "Learning rate",
    "grad_norm": "Gradient norm",
    "eval_loss": "Evaluation loss",
}
COLORS = {"loss": "loss", "eval_loss": "eval", "learning_rate": "rate", "grad_norm": "norm"}


class Chart(NamedTuple):
    """One chart: its curves by key, and whether it is one of those that are always shown."""

    key: str
    title: str
    curves: tuple[Curve, ...]
    main: bool


def charts_of(run: RunCurves) -> list[Chart]:
    """Group curves into charts: the evaluation loss is in one chart with the loss, each other key has its own."""
    groups: dict[str, list[Curve]] = {}
    for curve in run.curves:
        groups.setdefault("loss" if curve.key == "eval_loss" else curve.key, []).append(curve)
    charts = [
        Chart(key, TITLES.get(key, key), tuple(curves), key in COLORS or key.startswith("eval_"))
        for key, curves in groups.items()
    ]
    if not any(chart.main for chart in charts):  # the checkpoints need an axis all the same
        charts.insert(0, Chart("", "Checkpoints", (), True))
    return charts


def sentence(chart: Chart) -> str:
    """Describe the chart in words, for those who cannot see it or want a summary."""
    parts = []
    for curve in chart.curves:
        finite = [point for point in curve.points if isfinite(point.value)]
        if not curve.current or not finite:
            continue
        low = min(finite, key=lambda point: point.value)
        name = "" if curve.key == chart.key else f"{label(curve)} "
        high = max(finite, key=lambda point: point.value)
        ends = f"{short(finite[0].value)} → {short(finite[-1].value)}"
        if low.value == high.value:
            ends = short(low.value) + (" throughout" if len(finite) > 1 else "")
        parts.append(f"{name}{ends}")
        if curve.key.endswith("loss"):
            parts.append(f"lowest {short(low.value)} at step {spaced(low.step)}")
    odd = sum(not isfinite(point.value) for curve in chart.curves for point in curve.points)
    if odd:
        parts.append(f"{spaced(odd)} not finite")
    if not chart.curves:
        return "no numbers were logged, or none could be read"
    return ", ".join(parts)


def label(curve: Curve) -> str:
    """Name a curve within its chart."""
    name = {"loss": "training", "eval_loss": "evaluation"}.get(curve.key, curve.key)
    return name if curve.current else f"{name}, discarded"


def numbers(charts: Sequence[Chart], share: int) -> list[dict[str, Any]]:
    """The charts' numbers, at most ``share`` buckets for a curve."""
    return [
        {"key": chart.key, "title": printable(chart.title), "series": [_series(curve, share) for curve in chart.curves]}
        for chart in charts
    ]


def overlaid(runs: Sequence[Sequence[Chart]]) -> list[tuple[str, str, int]]:
    """Return what is shown of all runs in one chart: (key, title, number of runs) of what two or more have logged."""
    found = [
        (chart.key, chart.title) for charts in runs for chart in charts if chart.main and _first(chart) is not None
    ]
    return [(*item, found.count(item)) for item in dict.fromkeys(found) if found.count(item) > 1]


def _first(chart: Chart) -> Curve | None:
    """The curve of a chart that stands for its run among others."""
    return next((curve for curve in chart.curves if curve.key == chart.key and curve.current), None)


def share_of(runs: Sequence[Sequence[Chart]]) -> int:
    """How many buckets one curve may have."""
    count = sum(len(chart.curves) for charts in runs for chart in charts)
    return max(LEAST, min(MOST, BUCKETS // max(1, count)))


def _series(curve: Curve, share: int) -> dict[str, Any]:
    buckets = thin(curve.points, share, LARGEST)
    made: dict[str, Any] = {
        "label": printable(label(curve)),
        "color": COLORS.get(curve.key, "other"),
        "current": curve.current,
        "key": printable(curve.key),
        "x": [bucket.step for bucket in buckets],
        "y": [_digits(bucket.middle) for bucket in buckets],
        "odd": [_odd(bucket, bucket.odd) for bucket in buckets if bucket.odd is not None],
    }
    if len(buckets) < len(curve.points):
        made["low"] = [_digits(bucket.low) for bucket in buckets]
        made["high"] = [_digits(bucket.high) for bucket in buckets]
        made["each"] = -(-len(curve.points) // len(buckets))
    return made


def _odd(bucket: Bucket, first: Point) -> list[Any]:
    return [bucket.step, "too large" if isfinite(first.value) else _word(first.value), bucket.odds]


def _word(value: float) -> str:
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124 - NaN alone


def _digits(value: float | None) -> float | None:
    if value is None:
        return None
    return 0.0 if abs(value) < SMALLEST else float(f"{value:.5g}")


def short(value: float) -> str:
    """Return a number with four digits."""
    return f"{value:.4g}"


def spaced(number: int) -> str:
    """Return a count or a step with separated thousands."""
    return f"{number:,}"
