"""The schedules of transformers as formulas: what the base rate is multiplied with at a step."""

from collections.abc import Mapping
from math import ceil, cos, pi, sqrt
from typing import Any, NamedTuple

EXACT = frozenset(
    {"linear", "cosine", "constant", "constant_with_warmup", "cosine_with_restarts", "cosine_with_min_lr"}
)
"""transformers 5.23, optimization.py; unchanged since 4.0, min_lr since 4.40."""

KNOWN = EXACT | {"inverse_sqrt", "polynomial", "warmup_stable_decay"}
"""Those with a formula here. The last three (optimization.py, 5.23) got other arguments over time."""

ENDLESS = frozenset({"constant", "constant_with_warmup", "inverse_sqrt"})
"""Those whose rate does not depend on the number of all steps."""

_OPTIONS: Mapping[str, frozenset[str]] = {
    "cosine": frozenset({"num_cycles"}),
    "cosine_with_restarts": frozenset({"num_cycles"}),
    "cosine_with_min_lr": frozenset({"num_cycles", "min_lr", "min_lr_rate"}),
    "inverse_sqrt": frozenset({"timescale"}),
    "polynomial": frozenset({"lr_end", "power"}),
    "warmup_stable_decay": frozenset(
        {"num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles"}
    ),
}


class Schedule(NamedTuple):
    """A learning-rate schedule: its type, base rate, last step (``horizon``), warm-up and further arguments.

    One of ``warmups`` holds, which one depends on the version of Trainer.
    """

    kind: str
    base: float | None
    horizon: int
    warmups: tuple[float, ...]
    options: Mapping[str, Any]

    @classmethod
    def of(cls, arguments: Mapping[str, Any], horizon: int, base: float | None) -> "Schedule":
        """Return the schedule that training arguments name; its kind is "" if they name none."""
        kind, options = arguments.get("lr_scheduler_type"), arguments.get("lr_scheduler_kwargs") or {}
        return cls(
            kind if isinstance(kind, str) else "",
            base,
            horizon,
            warmups(arguments, horizon),
            options if isinstance(options, dict) else {"": options},
        )

    @property
    def exact(self) -> bool:
        """Whether every version of Trainer computes this type of schedule alike."""
        return self.kind in EXACT

    def at(self, step: int) -> tuple[float, ...]:
        """Return the factors of the base rate after ``step`` steps, one for each warm-up; () if they are unknown."""
        base = self.base or 0.0
        found = (factor(self.kind, step, warmup, self.horizon, self.options, base) for warmup in self.warmups)
        return tuple(share for share in found if share is not None)


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
    """The multiplier of the base rate after ``step`` scheduler steps; None if the formula is not known.

    ``horizon`` is the number of all steps; ``options`` are the ``lr_scheduler_kwargs``, ``base`` the rate that an
    absolute minimum is a share of.
    """
    if kind not in KNOWN or not set(options) <= _OPTIONS.get(kind, frozenset()):
        return None
    given = {key: value for key, value in options.items() if value is not None}
    if kind == "warmup_stable_decay":
        return _stable(step, warmup, horizon, given)
    if not all(isinstance(value, int | float) for value in given.values()):
        return None
    if kind == "constant":
        return 1.0
    if step < warmup:
        return step / max(1, warmup)
    if kind == "constant_with_warmup":
        return 1.0
    if kind == "inverse_sqrt":
        scale = given.get("timescale") or warmup or 10_000
        return sqrt(scale / (step + scale - warmup)) if scale > 0 else None
    if kind == "polynomial":
        return _polynomial(step, warmup, horizon, given, base)
    return _wave(kind, step, warmup, horizon, given, base)


def _wave(kind: str, step: int, warmup: float, horizon: int, options: Mapping[str, Any], base: float) -> float:
    """Linear and the cosines, after the warm-up."""
    if kind == "linear":
        return max(0.0, (horizon - step) / max(1, horizon - warmup))
    progress = (step - warmup) / max(1, horizon - warmup)
    if kind == "cosine_with_restarts":
        cycles = options.get("num_cycles", 1)
        return 0.0 if progress >= 1 else max(0.0, 0.5 * (1 + cos(pi * ((cycles * progress) % 1.0))))
    wave: float = 0.5 * (1 + cos(pi * options.get("num_cycles", 0.5) * 2 * progress))
    if kind == "cosine":
        return max(0.0, wave)
    least = options.get("min_lr_rate")
    if least is None:
        least = (options.get("min_lr") or 0.0) / base if base else 0.0
    return max(0.0, wave * (1 - least) + least)


def _polynomial(step: int, warmup: float, horizon: int, options: Mapping[str, Any], base: float) -> float | None:
    end, power = options.get("lr_end", 1e-7), options.get("power", 1.0)
    if not base > 0:
        return None
    if step > horizon or horizon <= warmup:
        return float(end / base)
    left = 1 - (step - warmup) / (horizon - warmup)
    return float(((base - end) * left**power + end) / base)


def _stable(step: int, warmup: float, horizon: int, options: Mapping[str, Any]) -> float | None:
    """Warm-up, plateau, decay (``_get_wsd_scheduler_lambda``)."""
    shapes = (options.get("warmup_type", "linear"), options.get("decay_type", "cosine"))
    decay, least, cycles = (
        options.get("num_decay_steps"),
        options.get("min_lr_ratio", 0),
        options.get("num_cycles", 0.5),
    )
    if not isinstance(decay, int) or not isinstance(least, int | float) or not isinstance(cycles, int | float):
        return None
    stable = options.get("num_stable_steps", horizon - warmup - decay)
    if not isinstance(stable, int | float) or not all(shape in ("linear", "cosine", "1-sqrt") for shape in shapes):
        return None
    if step < warmup:
        done = step / max(1, warmup)
        rises = {"linear": done, "cosine": 0.5 * (1 - cos(pi * done)), "1-sqrt": 1 - sqrt(1 - done)}
        return float(max(0.0, rises[shapes[0]] * (1 - least) + least))
    if step < warmup + stable:
        return 1.0
    if step >= warmup + stable + decay:
        return float(least)
    done = min(1.0, max(0.0, (step - warmup - stable) / max(1, decay)))
    falls = {"linear": 1 - done, "cosine": 0.5 * (1 + cos(pi * cycles * 2 * done)), "1-sqrt": 1 - sqrt(done)}
    return float(max(0.0, falls[shapes[1]] * (1 - least) + least))
