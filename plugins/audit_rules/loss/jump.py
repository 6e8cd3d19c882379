"""loss/jump."""

from collections.abc import Iterator

from audit.plugin import NotApplicable, Run, Severity, Violation, rule
from audit_rules._passage import OTHER_DATA, passage
from audit_rules.loss._windows import at_boundaries, begins_again, first_after, losses_of, median, rises


@rule(
    Severity.ERROR,
    remedy="Go back to the checkpoint at that boundary, and check that weights and optimizer are really loaded.",
    explained_by=("loss/restarted",),
)
def jump(
    run: Run,
    *,
    before: int = 20,
    after: int = 5,
    share: float = 0.10,
    fallen: float = 0.25,
    back: float = 0.8,
    include_rl: bool = False,
) -> Iterator[Violation]:
    """The loss jumps up where training was resumed, and stays there.

    At a known boundary the lowest of the next 5 losses is above the highest of the last 20, and the median rose by more
    than 10 %. By chance that happens once in 53 130 times, and it happened at none of 900 clean boundaries of real
    runs. With the run's own first losses spliced in after the boundary (weights not restored) it was found in 87 %.

    A boundary is where the ledger or the files show a resume. New data may be harder: then the jump is real, but not a
    fault. So if the ledger says that another data file begins there, it is a warning, and only if the loss had fallen
    by more than 25 % and is back by 80 % or more of the way to the run's start; a second time it is loss/restarted. It
    is a warning, too, if the checkpoints show that weights and optimizer continued over the boundary (the weights are
    near those before it and far from those of the run's start). Runs with logged rewards are not checked unless
    ``include_rl``.
    """
    judged = 0
    for losses in losses_of(run, include_rl):
        for boundary, old, new in at_boundaries(losses, before, after):
            judged += 1
            if boundary.new_data and not begins_again(losses, old, new, fallen, back):
                continue
            if rises(old, new, share):
                evidence = passage(losses.lineage, boundary).evidence
                yield Violation(
                    f"The loss jumps from {median(old):.4g} to {median(new):.4g} at the boundary of step "
                    f"{boundary.step} and stays there ({boundary.reason})"
                    + (f"; but {evidence}: other data, not another model" if evidence else ""),
                    checkpoint=first_after(losses, boundary.step),
                    step=boundary.step,
                    file=run.backend.state_file,
                    expected=round(max(old), 6),
                    actual=round(min(new), 6),
                    severity=Severity.WARNING if boundary.new_data or evidence else None,
                    remedy=OTHER_DATA if evidence else None,
                )
    if not judged:
        raise NotApplicable(f"no known boundary with {before} losses before and {after} after it: not enough data")
