"""Where training was resumed: as the ledger tells it, otherwise as far as the files show it.

`audit train` records every leg, so within its batches the boundaries are known and nothing is guessed. Elsewhere:
Trainer reloads the old history, so a plain resume leaves no trace in the steps. What does: training arguments that
differ between neighbours (they are pickled once a session), a save off the grid of ``save_steps`` that was continued,
``resume_from_checkpoint`` in the arguments, another ``max_steps``, and in the log an epoch that goes back or changes
its slope, and a learning rate that rises after a fall or, on a linear schedule, changes its slope.

A boundary that is not one does little harm (the rules that use it look for jumps that ordinary training does not make);
one that is missed is no longer a known boundary for them.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.backend.names import step_of_path
from audit.facts.series import Point, series, tail
from audit.ledger.timeline import Timeline

if TYPE_CHECKING:
    from audit.facts.checkpoint import Checkpoint
    from audit.formats.history import History

NEVER_RISING = frozenset(
    {
        "linear",
        "cosine",
        "polynomial",
        "inverse_sqrt",
        "constant",
        "constant_with_warmup",
        "cosine_with_min_lr",
        "cosine_warmup_with_min_lr",
        "warmup_stable_decay",
    }
)
"""Schedules of transformers whose rate never rises after the warm-up."""


def never_rises(arguments: Mapping[str, Any] | None) -> bool:
    """Whether the schedule that the training arguments name cannot rise after its warm-up."""
    kind = (arguments or {}).get("lr_scheduler_type")
    if kind == "cosine_with_restarts":  # one cycle, the default, is a plain cosine
        options = (arguments or {}).get("lr_scheduler_kwargs")
        cycles = options.get("num_cycles", 1) if isinstance(options, dict) else 1
        return isinstance(cycles, int | float) and cycles <= 1
    return kind in NEVER_RISING


SLOPE = 0.05
"""Relative change of a slope that counts; rounding of old logs and uneven ends of epochs stay below."""

WINDOW = 5
"""Intervals before and after that a slope is taken from."""


class Boundary(NamedTuple):
    """The last step before a resume, and what shows it.

    ``new_data``: the ledger says that another data file begins there. ``counted``: it says which examples follow, so
    that none of them was trained before.
    """

    step: int
    reason: str
    new_data: bool = False
    counted: bool = False


def boundaries_of(lineage: Sequence["Checkpoint"], batches: Timeline = Timeline()) -> tuple[Boundary, ...]:  # noqa: B008
    """Return the boundaries of one lineage by step, each once."""
    if not lineage:
        return ()
    guessed = _guessed(lineage)
    if not batches.legs:
        return guessed
    known = {boundary.step: boundary for boundary in _told(batches)}
    near = 2 * _interval(lineage[-1].history)
    ordered = sorted(known)
    for boundary in guessed:
        at = bisect_left(ordered, boundary.step)
        beside = any(abs(step - boundary.step) <= near for step in ordered[max(at - 1, 0) : at + 1])
        if not beside and not _covered(batches, boundary.step):
            known[boundary.step] = boundary
    return tuple(known[step] for step in sorted(known))


def _told(batches: Timeline) -> Iterator[Boundary]:
    """Where the legs of the ledger begin; the run's own beginning is none."""
    before = None
    for leg in batches.legs:
        new = before is None or before.batch != leg.batch
        if leg.first_step > 0:
            counted = leg.examples_per_step is not None
            reason = f"batch {leg.file} {'begins' if new else 'goes on'}"
            yield Boundary(leg.first_step, reason, new, counted)
        before = leg


def _covered(batches: Timeline, step: int) -> bool:
    """Whether a leg of the ledger went through this step, so that no other resume was there."""
    owner = batches.owner(step)
    return owner is not None and (owner.last_step is None or step < owner.last_step)


def _guessed(lineage: Sequence["Checkpoint"]) -> tuple[Boundary, ...]:
    newest = lineage[-1]
    found: dict[int, str] = {}
    for boundary in (*_between(lineage), *_off_grid(lineage)):
        found.setdefault(boundary.step, boundary.reason)
    arguments = newest.optional("arguments") or {}
    marks = [*_epochs(series(newest.history, "epoch")), *_rates(series(newest.history, "learning_rate"), arguments)]
    interval = _interval(newest.history)
    for boundary in marks:
        # The log shows a resume some entries late; a checkpoint or seam within reach is the same one, and exact.
        near = [step for step in found if abs(step - boundary.step) <= 2 * interval]
        saved = [item.step for item in lineage if abs(item.step - boundary.step) <= interval]
        if not near:
            found[saved[0] if saved else boundary.step] = boundary.reason
    return tuple(Boundary(step, found[step]) for step in sorted(found))


def _between(lineage: Sequence["Checkpoint"]) -> Iterator[Boundary]:
    for before, after in pairwise(lineage):
        old, new = before.optional("arguments"), after.optional("arguments")
        if new is not None:
            resumed = step_of_path(str(new.get("resume_from_checkpoint") or ""))
            if resumed is not None and 0 < resumed < after.step:
                yield Boundary(resumed, "resume_from_checkpoint of the training arguments names it")
        if old is not None and new is not None and old != new:
            yield Boundary(before.step, f"the training arguments changed: {_changed(old, new)}")
            continue
        was, now = before.optional("state"), after.optional("state")
        if was is not None and now is not None and was.max_steps != now.max_steps:
            yield Boundary(before.step, f"max_steps went from {was.max_steps} to {now.max_steps}")


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _off_grid(lineage: Sequence["Checkpoint"]) -> Iterator[Boundary]:
    """A save between the multiples of ``save_steps`` is the last one of its session."""
    for checkpoint in lineage[:-1]:
        state, arguments = checkpoint.optional("state"), checkpoint.optional("arguments")
        if state is None or arguments is None or arguments.get("save_strategy") != "steps":
            continue
        every = state.save_steps
        if every is not None and every >= 1 and checkpoint.step % every:
            yield Boundary(checkpoint.step, f"a save between the multiples of save_steps {every:g}, then continued")


def _interval(history: "History") -> int:
    steps = [point.step for point in tail(history, "step", 20)]
    return max((after - before for before, after in pairwise(steps)), default=1) or 1


def _epochs(points: Sequence[Point]) -> Iterator[Boundary]:
    for before, after in pairwise(points):
        if after.value < before.value:
            yield Boundary(before.step, f"the epoch went back from {before.value:g} to {after.value:g}")
    for before, old, new in bends(points, rounding=0.02):
        yield Boundary(before.step, f"an epoch took {1 / old:.6g} steps, then {1 / new:.6g}")


def _rates(points: Sequence[Point], arguments: Mapping[str, Any]) -> Iterator[Boundary]:
    if not never_rises(arguments):
        return
    for before, after in rises(points):
        yield Boundary(before.step, f"the learning rate rose again from {before.value:g} to {after.value:g}")
    if arguments.get("lr_scheduler_type") == "linear":
        for before, old, new in bends(points, rounding=0.0):
            if old < 0 and new < 0:
                yield Boundary(before.step, "the slope of the learning rate changed")


def rises(points: Sequence[Point], tolerance: float = 1e-6) -> Iterator[tuple[Point, Point]]:
    """Yield the neighbours between which the rate rises after it had once fallen (``tolerance`` is relative)."""
    fallen = False
    for before, after in pairwise(points):
        if after.step < before.step:
            continue  # a log in disorder: history/not-ascending
        if after.value < before.value * (1 - tolerance):
            fallen = True
        elif fallen and after.value > before.value * (1 + tolerance):
            yield before, after


def bends(points: Sequence[Point], rounding: float) -> Iterator[tuple[Point, float, float]]:
    """Yield the points where one straight line ends and another begins, with the slopes per step of both.

    ``rounding`` is the absolute error of a value. Both sides must be straight, or the point is none.
    """
    line = [points[0], *(new for old, new in pairwise(points) if new[0] > old[0])][:1_000_000] if points else []
    skip = 0
    for index in _uneven(line):
        if index < skip:
            continue
        left, here, right = line[index - WINDOW], line[index], line[index + WINDOW]
        old = (here.value - left.value) / (here.step - left.step)
        new = (right.value - here.value) / (right.step - here.step)
        slack = 2 * rounding / min(here.step - left.step, right.step - here.step)
        if not abs(new - old) > SLOPE * max(abs(old), abs(new)) + slack or not old or not new:
            continue
        sides = line[index - WINDOW : index + 1], line[index : index + WINDOW + 1]
        if all(_straight(side, slope, rounding) for side, slope in zip(sides, (old, new), strict=True)):
            yield here, old, new
            skip = index + WINDOW


def _uneven(line: Sequence[Point]) -> list[int]:
    """Return where the slopes on both sides differ at all by more than SLOPE: few places, found in one fast pass."""
    steps, values = [point[0] for point in line], [point[1] for point in line]
    return [
        index
        for index, (before, at, after, low, here, high) in enumerate(
            zip(
                steps, steps[WINDOW:], steps[2 * WINDOW :], values, values[WINDOW:], values[2 * WINDOW :], strict=False
            ),
            WINDOW,
        )
        if abs((high - here) * (at - before) - (here - low) * (after - at)) > SLOPE * abs(here - low) * (after - at) / 2
    ]


def _straight(side: Sequence[Point], slope: float, rounding: float) -> bool:
    first = side[0]
    slack = rounding + 0.01 * abs(slope) * (side[-1].step - first.step)
    return all(abs(point.value - first.value - slope * (point.step - first.step)) <= slack for point in side)
