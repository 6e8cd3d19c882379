"""The schedules of transformers as formulas: what the base rate is multiplied with at a step."""

from collections.abc import Mapping
from math import ceil, cos, pi
from typing import Any

EXACT = frozenset(
    {"linear", "cosine", "constant", "constant_with_warmup", "cosine_with_restarts", "cosine_with_min_lr"}
)
"""transformers 5.23, optimization.py; unchanged since 4.0, min_lr since 4.40."""


def warmups(arguments: Mapping[str, Any], horizon: int) -> tuple[float, ...]:
    """Steps of the warm-up, each that a version would take; empty where the arguments do not say.

    ``get_warmup_steps``: 4.x ``warmup_steps`` if above 0, else ``warmup_ratio`` of all steps, rounded up; 5.x
    ``warmup_steps``, a share of all steps if below 1 (which 4.x took as that fraction of one step).
    """
    steps = arguments.get("warmup_steps") or 0
    share = arguments.get("warmup_ratio") or 0
    if not isinstance(steps, int | float) or not isinstance(share, int | float) or not 0 <= share <= 1:
        return ()
    if not 0 <= steps < 1e15:
        return ()
    if steps >= 1:
        return (int(steps),)
    return (ceil(horizon * steps), steps) if steps else (ceil(horizon * share),)


def factor(kind: str, step: int, warmup: float, horizon: int, options: Mapping[str, Any], base: float) -> float | None:
    """The multiplier of the base rate after ``step`` scheduler steps; None where the formula is not known.

    ``horizon`` is the number of all steps; ``options`` are the ``lr_scheduler_kwargs``, ``base`` the rate that an
    absolute minimum is a share of.
    """
    known = {"cosine": {"num_cycles"}, "cosine_with_restarts": {"num_cycles"}}
    known["cosine_with_min_lr"] = {"num_cycles", "min_lr", "min_lr_rate"}
    if kind not in EXACT or not set(options) <= known.get(kind, set()):
        return None
    if not all(isinstance(value, int | float) for value in options.values() if value is not None):
        return None
    if kind == "constant":
        return 1.0
    if step < warmup:
        return step / max(1, warmup)
    if kind == "constant_with_warmup":
        return 1.0
    if kind == "linear":
        return max(0.0, (horizon - step) / max(1, horizon - warmup))
    progress = (step - warmup) / max(1, horizon - warmup)
    if kind == "cosine_with_restarts":
        cycles = options.get("num_cycles", 1)
        return 0.0 if progress >= 1 else max(0.0, 0.5 * (1 + cos(pi * ((cycles * progress) % 1.0))))
    wave = 0.5 * (1 + cos(pi * options.get("num_cycles", 0.5) * 2 * progress))
    if kind == "cosine":
        return max(0.0, wave)
    least = options.get("min_lr_rate")
    if least is None:
        least = (options.get("min_lr") or 0.0) / base if base else 0.0
    return max(0.0, wave * (1 - least) + least)
