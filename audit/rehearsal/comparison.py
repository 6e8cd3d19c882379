"""Is what was restored and trained again the same? Compared exactly, or within tolerances that are stated here.

On the machine and with the versions that trained, Trainer's steps on a CPU are the same bit for bit, so any difference
counts. Elsewhere they differ by rounding: the tolerances are relative, and were measured as docs/rehearse.md says.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isinf, isnan
from typing import NamedTuple

from audit.backend.rehearsal import Compared, Rehearsal, Replayed
from audit.rehearsal.causes import END, EXAMPLES, GRAD_NORM, LOSS, RATE, Difference, likely_cause
from audit.rehearsal.expected import Logged

TOLERANCES: Mapping[str, Mapping[str, float]] = {
    "float32": {LOSS: 1e-5, GRAD_NORM: 1e-4},
    "bfloat16": {LOSS: 1e-4, GRAD_NORM: 5e-3},
    "float16": {LOSS: 1e-4, GRAD_NORM: 5e-3},
}
"""Relative to what was logged. The learning rate is computed in float64 everywhere, and has none."""


class Judgement(NamedTuple):
    """What a rehearsal showed.

    ``differences`` are in the order in which a resume meets them; ``cause``: why, by the pattern of the first ones.
    ``judged`` are the quantities that were compared in at least one step, ``bit_for_bit``: all of them were equal.
    ``largest`` is the largest relative difference by quantity. ``steps``: how many steps after the checkpoint there are
    up to the last one that was compared.
    """

    same: bool
    differences: tuple[Difference, ...]
    cause: str | None
    judged: tuple[str, ...]
    bit_for_bit: bool
    largest: Mapping[str, float]
    steps: int


def judge(
    rehearsal: Rehearsal,
    logged: Sequence[Logged],
    step: int,
    exact: bool,
    before: Iterable[Difference] = (),
) -> Judgement:
    """Compare a rehearsal from ``step`` with the log; ``before`` are differences that were found without it.

    ``logged`` is of the steps that were to be trained: a rehearsal that ends before the last of them differs.
    """
    differences = list(before)
    differences += [_not_restored(part) for part in rehearsal.restored if part.different]
    judged: dict[str, None] = {}
    largest: dict[str, float] = {}
    compared = step
    known = {item.step: item for item in logged}
    tolerances = {} if exact else TOLERANCES.get(rehearsal.dtype, TOLERANCES["float32"])
    for replayed in rehearsal.steps:
        told = known.get(replayed.step)
        for difference, quantity in _of_step(replayed, told) if told is not None else ():
            judged[quantity], compared = None, replayed.step
            if difference is None:
                continue
            if difference.relative is not None:
                largest[quantity] = max(largest.get(quantity, 0.0), difference.relative)
            if difference.relative is None or not difference.relative <= tolerances.get(quantity, 0.0):
                differences.append(difference)
    ended = rehearsal.steps[-1].step if rehearsal.steps else step
    if logged and logged[-1].step > ended:
        differences.append(Difference(ended + 1, END, "to go on as in the log", f"ended after step {ended}", None))
    bits = not largest and not differences
    if exact:
        for arrival in rehearsal.arrivals:
            differences += [_not_arrived(arrival.step, part) for part in arrival.parts if part.different]
    missing = {part.part: part.missed for part in rehearsal.restored if part.missed and not part.values}
    cause = likely_cause(differences, step, rehearsal.draws, missing) if differences else None
    return Judgement(not differences, tuple(differences), cause, tuple(judged), bits, largest, compared - step)


def _of_step(replayed: Replayed, told: Logged) -> Iterator[tuple[Difference | None, str]]:
    """Yield each quantity that both know, with its difference, None if it is equal."""
    if told.examples is not None and replayed.examples is not None:
        same = replayed.examples == told.examples
        yield None if same else _examples(replayed, told), EXAMPLES
    pairs = (
        (RATE, told.learning_rate, replayed.learning_rate),
        (LOSS, told.loss if told.whole else None, replayed.loss),
        (GRAD_NORM, told.grad_norm, replayed.grad_norm),
    )
    for quantity, expected, found in pairs:
        if expected is None:
            continue
        if found is None:
            yield Difference(replayed.step, quantity, f"{expected!r}", "nothing was logged", None), quantity
        elif expected == found or (isnan(expected) and isnan(found)):
            yield None, quantity
        else:
            yield Difference(replayed.step, quantity, repr(expected), repr(found), relative(expected, found)), quantity


def relative(expected: float, found: float) -> float:
    """Return the difference relative to what was expected; infinite for what cannot be compared."""
    if isnan(expected) or isnan(found) or isinf(expected) or isinf(found):
        return float("inf")
    return abs(found - expected) / abs(expected) if expected else float("inf")


def _examples(replayed: Replayed, told: Logged) -> Difference:
    expected, found = told.examples or (), replayed.examples or ()
    return Difference(replayed.step, EXAMPLES, _ids(expected), _ids(found), None)


def _ids(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return f"{shown}, ..." if len(numbers) > 8 else shown or "none"


def _not_restored(part: Compared) -> Difference:
    return Difference(None, part.part, "as in the files", _other(part), part.largest)


def _not_arrived(step: int, part: Compared) -> Difference:
    return Difference(step, part.part, "as in the files", _other(part), part.largest)


def _other(part: Compared) -> str:
    where = f", the first is {part.first}" if part.first else ""
    return f"{part.different} of {part.values} values differ{where}"
