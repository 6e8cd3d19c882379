"""loss/jump-likely."""

from collections.abc import Iterator

from audit.plugin import NotApplicable, Run, Severity, Violation, rule
from audit_rules._passage import OTHER_DATA, passage
from audit_rules.loss._windows import at_boundaries, first_after, losses_of, median, rises


@rule(
    Severity.WARNING,
    remedy="Continue training and verify again: with 20 losses before and 5 after, loss/jump decides.",
    explained_by=("loss/restarted", "loss/jump"),
)
def jump_likely(
    run: Run,
    *,
    before: int = 10,
    after: int = 3,
    share: float = 0.25,
    enough_before: int = 20,
    enough_after: int = 5,
    include_rl: bool = False,
) -> Iterator[Violation]:
    """The loss seems to jump where training was resumed, as far as so few losses can tell.

    If loss/jump has too little data (fewer than 20 losses before or 5 after the boundary), 10 before and 3 after
    decide: all of them higher, and the median up by more than 25 %. That fired at 1 of 1043 clean boundaries of real
    runs, so it is only a warning. Not checked where another data file begins according to the ledger: so few losses do
    not distinguish harder data from lost weights.
    """
    judged = 0
    for losses in losses_of(run, include_rl):
        decided = {boundary.step for boundary, _, _ in at_boundaries(losses, enough_before, enough_after)}
        for boundary, old, new in at_boundaries(losses, before, after):
            if boundary.step in decided or boundary.new_data:
                continue
            judged += 1
            if rises(old, new, share):
                evidence = passage(losses.lineage, boundary).evidence
                yield Violation(
                    f"The loss seems to jump from {median(old):.4g} to {median(new):.4g} at the boundary of step "
                    f"{boundary.step} ({boundary.reason})"
                    + (f"; but {evidence}: other data, not another model" if evidence else ""),
                    checkpoint=first_after(losses, boundary.step),
                    step=boundary.step,
                    file=run.backend.state_file,
                    expected=round(max(old), 6),
                    actual=round(min(new), 6),
                    remedy=OTHER_DATA if evidence else None,
                )
    if not judged:
        raise NotApplicable("no known boundary that needs it: loss/jump decides, or there is not enough data")
