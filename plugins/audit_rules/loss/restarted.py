"""loss/restarted."""

from collections.abc import Iterator

from audit.plugin import NotApplicable, Run, Severity, Violation, rule
from audit_rules._passage import OTHER_DATA, passage
from audit_rules.loss._windows import at_boundaries, begins_again, losses_of, median


@rule(
    Severity.ERROR,
    remedy="Make the resume load the weights: each batch so far started from the untrained model.",
)
def restarted(
    run: Run,
    *,
    before: int = 10,
    after: int = 3,
    fallen: float = 0.25,
    back: float = 0.8,
    boundaries: int = 2,
    include_rl: bool = False,
) -> Iterator[Violation]:
    """The loss starts over after each resume: a sawtooth.

    It had fallen by more than 25 %, and the first 3 losses after the boundary are back by 80 % or more of the way to
    the run's first 3, at 2 boundaries or more. So each batch trained a fresh model, and only the last one is in the
    checkpoint. New and harder data raises the loss, but rarely to the level of the untrained model each time. If a data
    file is read several times, only the first time counts: examples seen before have a lower loss than new ones.

    A sequence of different data (another language, another task) has the same effect on the curve. If the checkpoints
    show that weights and optimizer continued over these boundaries, it is a warning with that reason: the weights are
    near those from before the boundary, and the optimizer has counted on. If no checkpoint from before the boundary is
    left, ``ignore_data_skip`` and the count of the optimizer decide.
    """
    judged = 0
    for losses in losses_of(run, include_rl):
        first = median([point.value for point in losses.points[:after]])
        teeth, seen = [], 0
        for boundary, old, new in at_boundaries(losses, before, after):
            seen += 1
            if begins_again(losses, old, new, fallen, back):
                teeth.append((boundary, median(old), median(new)))
        judged += seen >= boundaries
        if len(teeth) < boundaries:
            continue
        passages = [passage(losses.lineage, boundary) for boundary, _, _ in teeth]
        evidence = next((item.evidence for item in passages if item.on), "")
        other_data = bool(evidence) and not any(item.on is False for item in passages)
        steps = ", ".join(str(boundary.step) for boundary, _, _ in teeth[:4]) + (", ..." if len(teeth) > 4 else "")
        yield Violation(
            f"The loss starts over at {len(teeth)} of {seen} boundaries (steps {steps}): it had fallen to "
            f"{teeth[0][1]:.4g} and was back at {teeth[0][2]:.4g}, the run started at {first:.4g}"
            + (f"; but {evidence}: other data, not another model" if other_data else ""),
            file=run.backend.state_file,
            expected=round(teeth[0][1], 6),
            actual=round(teeth[0][2], 6),
            step=teeth[0][0].step,
            severity=Severity.WARNING if other_data else None,
            remedy=OTHER_DATA if other_data else None,
        )
    if not judged:
        raise NotApplicable(f"fewer than {boundaries} known boundaries with {before} losses before and {after} after")
