"""learning-rate/zero."""

from collections.abc import Iterator, Sequence

from audit.plugin import Checkpoint, NotApplicable, Point, Run, Severity, Violation, never_rises, rule, series


@rule(
    Severity.WARNING,
    remedy="Train the data of these steps again with a schedule that has not ended; nothing was learned from it.",
    explained_by=("learning-rate/rose-again", "steps/beyond-schedule"),
)
def zero(run: Run) -> Iterator[Violation]:
    """Steps were trained at learning rate 0 after the schedule had ended.

    Trainer 5.23: the first step after a resume uses the rate in the file. At the end of a linear or cosine schedule
    that is 0, so the first step of each further batch changes nothing; with the step counter set back, hundreds of
    steps do.

    Found in the log (a rate of 0 after others, followed by more) or in ``scheduler.pt`` of a checkpoint from which
    training continued. A warm-up that starts at 0 is legal, as is 0 at the last step of a run, or throughout.
    """
    judged, reason = 0, "no learning rate was logged"
    for lineage in run.lineages:
        newest = lineage[-1]
        points = series(newest.history, "learning_rate")
        if not never_rises(newest.optional("arguments")):
            reason = "its schedule may pass 0, or is not known"
            continue
        scheduler = newest.optional("scheduler")
        if scheduler is not None and scheduler.kind != "lambda":
            reason = "the scheduler is not one of transformers"
            continue
        if not any(point.value > 0 for point in points):
            continue
        judged += 1
        steps = _logged(points)
        if steps is not None:
            first, last = steps
            text = f"Steps up to {last} were trained at learning rate 0, as logged from step {first} on"
        else:
            ended = _ended(lineage)
            if ended is None:
                continue
            first = ended.step
            text = f"Step {first + 1} was trained at learning rate 0: the schedule had ended at {ended.name}"
        yield Violation(
            text,
            checkpoint=next((item.name for item in lineage if item.step > first), newest.name),
            file=run.backend.state_file,
            expected="a rate above 0",
            actual=0.0,
            step=first,
        )
    if not judged:
        raise NotApplicable(reason)


def _logged(points: Sequence[Point]) -> tuple[int, int] | None:
    """The first and the last step of a stretch at 0, after a rate above 0 and before another entry."""
    start = next((index for index, point in enumerate(points) if point.value > 0), len(points))
    first = next((index for index in range(start, len(points)) if points[index].value == 0), len(points))
    if first >= len(points) - 1:
        return None
    last = first
    while last + 1 < len(points) and points[last + 1].value == 0:
        last += 1
    return points[first].step, points[last].step if last > first else points[first].step + 1


def _ended(lineage: Sequence[Checkpoint]) -> Checkpoint | None:
    """The first checkpoint whose schedule was at 0 although training continued from it."""
    for checkpoint in lineage[:-1]:
        scheduler = checkpoint.optional("scheduler")
        if scheduler is not None and (scheduler.last_epoch or 0) > checkpoint.step:
            continue  # the file of a later step: scheduler/step-mismatch
        rates = scheduler.last_lr if scheduler is not None else None
        if rates and not any(rates) and any(scheduler.base_lrs or ()) and (scheduler.last_epoch or 0) > 1:
            return checkpoint
    return None
