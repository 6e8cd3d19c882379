"""learning-rate/rose-again."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from audit.plugin import (
    Boundary,
    Checkpoint,
    NotApplicable,
    Point,
    Run,
    Severity,
    Violation,
    never_rises,
    rate_rises,
    rule,
    series,
)
from audit_rules._more import and_more

_EXTENDED = (
    "If you extended the training on purpose, accept this finding in audit.toml or pyproject.toml (docs/configuration.md, "
    "Accepted findings). Otherwise go back to before that step; max_steps is the total of all batches, set before the "
    "first one."
)
_LEGAL = frozenset({"cosine_with_restarts", "reduce_lr_on_plateau", "greedy"})


@rule(
    Severity.ERROR,
    remedy="Set max_steps to the total of all batches before the first one, or use a constant schedule; then go back to before that step.",
    explained_by=("history/not-ascending", "history/beyond-step"),
)
def rose_again(run: Run, *, rise: float = 1e-6, bow: float = 0.02) -> Iterator[Violation]:
    """The learning rate rose after it had fallen, although the schedule never rises.

    ``scheduler.pt`` holds the position, not the horizon: resumed with a larger ``max_steps``, a linear or cosine
    schedule jumps from 0 back up and falls again, batch after batch; and if the
    scheduler or optimizer file is missing, Trainer restarts the schedule without a message. Each of 15 such rises in
    real runs was a resume with another horizon.

    Checked after the warm-up, by the rates in the log of the newest checkpoint. Schedules that may rise (restarts,
    plateau, any scheduler other than LambdaLR) are not checked, nor is a rise at a step where the ledger records that a
    person changed the rate (`audit train --change`). If the type is not known, a rise at a known boundary is
    a warning. A "linear" schedule whose rate did not fall in a straight line (within ``bow`` of its height) is not
    linear: the program uses its own scheduler.
    """
    judged, reason = 0, "no learning rate was logged"
    for lineage, boundaries in zip(run.lineages, run.boundaries, strict=True):
        newest = lineage[-1]
        points = series(newest.history, "learning_rate")
        arguments = newest.optional("arguments") or {}
        kind, falling = arguments.get("lr_scheduler_type"), never_rises(arguments)
        scheduler = newest.optional("scheduler")
        if len(points) < 3:
            continue
        if (kind in _LEGAL and not falling) or (scheduler is not None and scheduler.kind != "lambda"):
            reason = (
                f"the schedule {kind} may rise"
                if scheduler is None or scheduler.kind == "lambda"
                else "the scheduler is not one of transformers"
            )
            continue
        changed = run.records.batches.changed_between
        found = [
            (before, after)
            for before, after in rate_rises(points, rise)
            if not changed("learning_rate", before.step, after.step)
        ]
        if not falling:
            known = [item.step for item in boundaries]
            found = [pair for pair in found if _resumed(*pair, known)]
        elif kind == "linear" and found and not _was_straight(points, found[0][0], boundaries, bow):
            reason = "the rate does not follow a linear schedule: the program uses its own scheduler"
            continue
        judged += 1
        if found:
            before, after = found[0]
            more = and_more(found, ", and {} more times")
            yield Violation(
                f"The learning rate rose from {before.value:.4g} at step {before.step} to {after.value:.4g} at step "
                f"{after.step}{more}: {_cause(lineage, before.step, kind, falling)}",
                checkpoint=next((item.name for item in lineage if item.step > before.step), newest.name),
                file=run.backend.state_file,
                expected=before.value,
                actual=after.value,
                step=after.step,
                severity=None if falling else Severity.WARNING,
                remedy=_EXTENDED if _raised(lineage, before.step) else None,
            )
    if not judged:
        raise NotApplicable(reason)


def _cause(lineage: Sequence[Checkpoint], step: int, kind: object, falling: bool) -> str:
    """Say what happened after ``step``, as far as the checkpoints around it show it."""
    ends = _raised(lineage, step)
    if ends is not None:
        return f"max_steps was raised from {ends[0]} to {ends[1]} at a resume, which computes the schedule anew for {ends[1]} steps"
    if not falling:
        return "at a resume"
    return f"a {kind} schedule {'of one cycle ' if kind == 'cosine_with_restarts' else ''}does not rise"


def _raised(lineage: Sequence[Checkpoint], step: int) -> tuple[int, int] | None:
    """Return ``max_steps`` of the checkpoints before and after ``step`` if it was raised between them."""
    before = [item for item in lineage if item.step <= step][-1:]
    after = [item for item in lineage if item.step > step][:1]
    ends = [state.max_steps for item in (*before, *after) if (state := item.optional("state")) is not None]
    if len(ends) == 2 and ends[0] is not None and ends[1] is not None and ends[0] < ends[1]:
        return ends[0], ends[1]
    return None


def _resumed(before: Point, after: Point, known: Sequence[int]) -> bool:
    """Whether there is a boundary at the rise; the first step of a session still logs the old rate."""
    reach = 2 * (after.step - before.step)
    at = bisect_left(known, before.step - reach)
    return at < len(known) and known[at] <= after.step


def _was_straight(points: Sequence[Point], end: Point, boundaries: Sequence[Boundary], bow: float) -> bool:
    """Whether the fall before ``end``, back to the session's beginning or the peak, was a straight line."""
    position = next(index for index, point in enumerate(points) if point is end)
    start = max((item.step for item in boundaries if item.step < end.step), default=0)
    fall = [point for point in points[: position + 1] if point.step > start]
    if not fall:
        return True
    peak = max(range(len(fall)), key=lambda index: (fall[index].value, index))
    fall = [point for point in fall[peak:] if point.value > 0]
    if len(fall) < 4:
        return True  # too few to tell: the arguments decide
    first, last = fall[0], fall[-1]
    if last.step <= first.step:
        return True
    slope = (last.value - first.value) / (last.step - first.step)
    slack = bow * abs(first.value)
    return all(abs(point.value - first.value - slope * (point.step - first.step)) <= slack for point in fall)
