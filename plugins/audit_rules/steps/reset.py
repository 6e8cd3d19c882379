"""steps/reset."""

from collections.abc import Iterator

from audit.errors import NotApplicable
from audit.findings import Severity, Violation
from audit.rules import rule
from audit.run import Run


@rule(
    Severity.ERROR,
    remedy="Find the lost checkpoints in a backup before you resume; if going back is meant, let `audit guard` hand it out.",
    explained_by=("files/incomplete-checkpoint", "history/forked", "files/leftover", "steps/directory-mismatch"),
)
def reset(run: Run) -> Iterator[Violation]:
    """The run is behind a step that it had reached before.

    The ledger remembers the highest step that any verification saw, also when rotation or a fresh start has removed the
    evidence. A counter that goes back means that training started over, that the newest checkpoints were deleted, or
    that another, older tree was put in the run's place.

    What the guard handed out is a known way back, and so is a quarantine: the run is then measured from there. A run
    whose directory is empty, but whose ledger saw steps, has vanished.
    """
    if not run.records.observed:
        raise NotApplicable("the ledger has no earlier verification of this run")
    reached = run.records.reached
    newest = max((checkpoint.step for checkpoint in run.checkpoints if checkpoint.complete), default=None)
    if newest is None:
        if reached and not run.checkpoints:
            yield Violation(f"Every checkpoint is gone; step {reached} had been reached", expected=reached, actual=None)
    elif newest < reached:
        yield Violation(
            f"The newest checkpoint is of step {newest}, but step {reached} had been reached before",
            expected=reached,
            actual=newest,
        )
