"""What the log of a later checkpoint says of the steps that are trained again."""

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any, NamedTuple


class Logged(NamedTuple):
    """What was logged of ``step``; None where nothing was.

    ``whole``: the loss, a mean over all steps since the last one that was logged, is of steps that are trained again
    alone. ``examples``: their numbers by the ledger, None if it does not say.
    """

    step: int
    loss: float | None = None
    grad_norm: float | None = None
    learning_rate: float | None = None
    whole: bool = True
    examples: tuple[int, ...] | None = None


def logged_after(entries: Iterable[Mapping[str, Any]], step: int, begins: frozenset[int] = frozenset()) -> list[Logged]:
    """Return what a log says of the steps after ``step``, in order; a step that was logged twice counts as the last.

    ``begins`` are steps after which a training began or was resumed: there Trainer begins a mean anew
    (transformers 5.24, ``_globalstep_last_logged``).
    """
    found: dict[int, Logged] = {}
    last = 0
    for entry in entries:
        now, loss = entry.get("step"), _number(entry.get("loss"))
        if not isinstance(now, int) or isinstance(now, bool) or loss is None:
            continue
        if now > step:
            start = max(last, max((place for place in begins if place < now), default=0))
            norm, rate = _number(entry.get("grad_norm")), _number(entry.get("learning_rate"))
            found[now] = Logged(now, loss, norm, rate, start >= step)
        last = now
    return [found[number] for number in sorted(found)]


def steps_to_train(logged: Iterable[Logged], step: int, wanted: int, most: int | None) -> int:
    """Return how many steps to train after ``step``: ``wanted``, or more if the first mean of losses ends later.

    Not more than ``most``, and none after the last one that was logged; none at all if none is wanted.
    """
    if not wanted:
        return 0
    known = [item for item in logged if most is None or item.step <= step + most]
    if not known:
        return 0
    first = next((item.step for item in known if item.whole), known[0].step)
    return min(max(wanted, first - step), known[-1].step - step)


def _number(value: Any) -> float | None:
    """A logged number; not finite ones are text in some logs."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return inf
