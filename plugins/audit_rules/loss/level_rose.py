"""loss/level-rose."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from audit.plugin import NotApplicable, Point, Run, Severity, Violation, rule
from audit_rules._more import and_more
from audit_rules.loss._windows import first_after, losses_of, median, rises, spread

_SHOWN = 5


@rule(
    Severity.WARNING,
    remedy="Look at the data and the learning rate of these steps; go back to a checkpoint before them if the level stays.",
    explained_by=("loss/restarted", "loss/jump", "loss/jump-likely"),
)
def level_rose(
    run: Run,
    *,
    before: int = 20,
    after: int = 5,
    deviations: float = 4.0,
    share: float = 0.10,
    floor: float = 0.05,
    include_rl: bool = False,
) -> Iterator[Violation]:
    """The level of the loss rose and stayed there, away from any known resume.

    The lowest of 5 losses is above the highest of the 20 before, and the median rose by more than 4 robust standard
    deviations of those 20, by more than 10 % and by more than 0.05. Single spikes are ordinary (13 % of real runs have
    one of more than 0.5) and are not reported. Of 125 real runs 3 were reported, and all three had diverged.

    Reported once per episode: again only after the loss has returned to its old level.
    """
    judged = 0
    for losses in losses_of(run, include_rl):
        if len(losses.points) < before + after:
            continue
        judged += 1
        known = [boundary.step for boundary in losses.boundaries]  # ascending
        episodes = _episodes(losses.points, before, after, deviations, share, floor)
        episodes = [item for item in episodes if not _any_between(known, item[0].step, item[1].step)]
        rest = and_more(episodes, " (and {} more times)", _SHOWN)
        for number, (start, _, was, now) in enumerate(episodes[:_SHOWN], start=1):
            more = rest if number == _SHOWN else ""
            yield Violation(
                f"The loss rose from {was:.4g} to {now:.4g} after step {start.step} and stayed there{more}",
                checkpoint=first_after(losses, start.step) or losses.lineage[-1].name,
                step=start.step,
                file=run.backend.state_file,
                expected=round(was, 6),
                actual=round(now, 6),
            )
    if not judged:
        raise NotApplicable(f"fewer than {before + after} losses: not enough data")


def _any_between(steps: Sequence[int], first: int, last: int) -> bool:
    at = bisect_left(steps, first)
    return at < len(steps) and steps[at] <= last


def _episodes(
    points: Sequence[Point], before: int, after: int, deviations: float, share: float, floor: float
) -> list[tuple[Point, Point, float, float]]:
    """Return (last point before, last point of the window after, level before, level after) of each episode."""
    values = [point.value for point in points]
    found = []
    level: float | None = None
    for index in range(before, len(values) - after + 1):
        if level is not None:
            if values[index - 1] > level:
                continue
            level = None
        old = values[index - before : index]
        if values[index] <= max(old):
            continue
        new = values[index : index + after]
        if rises(old, new, share) and median(new) - median(old) > max(floor, deviations * spread(old)):
            was, now = median(old), median(new)
            found.append((points[index - 1], points[index + after - 1], was, now))
            level = max(old)
    return found
