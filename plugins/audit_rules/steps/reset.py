"""steps/reset."""

from collections.abc import Iterator

from audit.plugin import NotApplicable, Run, Severity, Violation, rule


@rule(
    Severity.ERROR,
    remedy="Find the lost checkpoints in a backup before you resume; to go back on purpose, resume from what `audit guard` names.",
    explained_by=("files/incomplete-checkpoint", "history/forked", "files/leftover", "steps/directory-mismatch"),
)
def reset(run: Run) -> Iterator[Violation]:
    """The run is behind a step that it had already reached.

    The ledger records the highest step that any verification saw and where each batch ended, even after rotation or a
    fresh start has removed the checkpoints. If the step goes back, training started over, the newest checkpoints were
    deleted, or the run was replaced by an older copy.

    With ``save_total_limit=1`` and a best model to keep, Trainer deletes everything but the best checkpoint when
    training ends; this is not reported. Going back to a checkpoint from the guard, or by a quarantine, is known: the
    run is then compared with that step. So is what ``audit hub push --delete-local`` removed: the run is compared with
    the newest checkpoint that stayed. A run whose directory is empty although its ledger has steps is reported, too.
    """
    if not run.records.observed and not run.records.batches.batches:
        raise NotApplicable("the ledger has no earlier verification of this run, and no batch")
    reached = run.records.highest_here
    # One that is there but broken or incomplete has its own finding; it is not behind.
    newest = max((checkpoint.step for checkpoint in run.checkpoints), default=None)
    if newest is None:
        if reached:
            yield Violation(f"Every checkpoint is gone; step {reached} had been reached", expected=reached, actual=None)
    elif newest < reached:
        if only_the_best_is_left(run):
            raise NotApplicable("training ended, and Trainer left only the best checkpoint (save_total_limit 1)")
        yield Violation(
            f"The newest checkpoint is of step {newest}, but step {reached} had been reached before",
            expected=reached,
            actual=newest,
        )


def only_the_best_is_left(run: Run) -> bool:
    """Trainer 5.23, ``_finalize_training``: with limit 1, training ends by deleting all checkpoints but the best."""
    whole = [checkpoint for checkpoint in run.checkpoints if checkpoint.complete]
    if len(whole) != 1 or run.optional("save_total_limit") != 1:
        return False
    return whole[0].best_recorded == whole[0].name
