"""loss/fell-suspiciously."""

from collections.abc import Iterator, Sequence

from audit.plugin import NotApplicable, Point, Run, Severity, Violation, rule, series
from audit_rules.loss._windows import Places, at_boundaries, falls, first_after, losses_of, median, spread


@rule(
    Severity.WARNING,
    remedy="Check that the data after the resume was not trained on before; Trainer may replay part of a file.",
)
def fell_suspiciously(
    run: Run,
    *,
    before: int = 20,
    after: int = 5,
    share: float = 0.10,
    deviations: float = 3.0,
    epoch_end: float = 0.02,
    include_rl: bool = False,
) -> Iterator[Violation]:
    """The loss drops where training was resumed, as it does on replayed data.

    The mirror of loss/jump: the highest of the next 5 losses is below the lowest of the last 20, and the median fell by
    more than 10 %. It must also be below the trend before the boundary, by as much and by more than ``deviations`` of
    its scatter, since every loss falls in its first steps. A wrong position or order of the data after a resume is the
    most common silent failure in practice, and a loss that gets better is its only sign in the curve.

    At a new epoch over the same data the loss falls by itself, so a boundary within 2 % of the end of an epoch, after
    which the epoch continues, is not checked. Easier data is a legitimate cause, so this is a warning. Not checked if
    the ledger counts the examples of `audit train`: none of them is replayed.
    """
    judged = 0
    for losses in losses_of(run, include_rl):
        epochs = series(losses.lineage[-1].history, "epoch")
        places = Places(epochs)
        for boundary, old, new in at_boundaries(losses, before, after):
            if boundary.counted or _new_epoch(epochs, places.after(boundary.step), epoch_end):
                continue
            judged += 1
            if falls(old, new, share) and _below_trend(old, new, share, deviations):
                yield Violation(
                    f"The loss falls from {median(old):.4g} to {median(new):.4g} at the boundary of step "
                    f"{boundary.step} and stays there: the data may have been seen before ({boundary.reason})",
                    checkpoint=first_after(losses, boundary.step),
                    step=boundary.step,
                    file=run.backend.state_file,
                    expected=round(min(old), 6),
                    actual=round(max(new), 6),
                )
    if not judged:
        raise NotApplicable(f"no known boundary with {before} losses before and {after} after it: not enough data")


def _below_trend(old: Sequence[float], new: Sequence[float], share: float, deviations: float) -> bool:
    """Whether the new losses are below the line through all old ones and below that through the later half of them."""
    for values in (old, old[len(old) // 2 :]):
        slope, scatter = _line(values)
        middle = (len(values) - 1) / 2
        level = sum(values) / len(values)
        expected = [level + slope * (len(values) - middle + place) for place in range(len(new))]
        below = median([there - value for there, value in zip(expected, new, strict=True)])
        if below <= max(share * median(new), deviations * scatter):
            return False
    return True


def _line(values: Sequence[float]) -> tuple[float, float]:
    """Slope of the straight line through the values (least squares) and their robust deviation from it."""
    middle, level = (len(values) - 1) / 2, sum(values) / len(values)
    slope = sum((place - middle) * (value - level) for place, value in enumerate(values))
    slope /= sum((place - middle) ** 2 for place in range(len(values)))
    return slope, spread([value - level - slope * (place - middle) for place, value in enumerate(values)])


def _new_epoch(points: Sequence[Point], index: int, slack: float) -> bool:
    if not 0 < index < len(points):
        return False
    at, later = points[index - 1].value, points[index].value
    return at >= 1 - slack and later >= at and abs(at - round(at)) <= slack
