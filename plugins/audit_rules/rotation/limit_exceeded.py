"""rotation/limit-exceeded."""

from collections.abc import Iterator

from audit.plugin import FILE, Checkpoint, NotApplicable, Run, Severity, Violation, rule
from audit_rules.rotation._shared import one_history, parent, plain, trained_in_place


@rule(
    Severity.ERROR,
    remedy="Find out why the trainer could not delete (permissions, a full or busy disk), then delete the oldest ones.",
)
def limit_exceeded(run: Run, newest: Checkpoint, save_total_limit: int) -> Iterator[Violation]:
    """There are more checkpoints than `save_total_limit` allows.

    Trainer deletes the oldest ones after each save and ignores every error: the disk fills up, and rotation no longer
    does what the arguments say. Trainer 5.23, ``rotate_checkpoints``, protects the newest and the best, so a limit of 1
    keeps two if they differ.

    The limit is that of the newest checkpoint's arguments: a smaller one takes effect with the next save. Incomplete
    checkpoints (a save or a deletion was interrupted, or is running) are not counted. Not checked if there are several
    histories, or behind a URL.
    """
    trained_in_place(run)
    one_history(run)
    whole = [checkpoint for checkpoint in run.checkpoints if _is_whole(checkpoint)]
    allowed = save_total_limit
    best = getattr(newest.optional("state"), "best_model_checkpoint", None)
    if save_total_limit == 1 and best and not _is_newest(newest, best):
        allowed = 2
    if len(whole) > allowed:
        extra = " and the best one is kept, too" if allowed > save_total_limit else ""
        surplus = ", ".join(checkpoint.name for checkpoint in whole if checkpoint.name != newest.best_recorded)
        yield Violation(
            f"there are {len(whole)} checkpoints, but save_total_limit is {save_total_limit}{extra}; "
            f"the oldest of {surplus} should have been deleted",
            expected=allowed,
            actual=len(whole),
        )
    elif not whole:
        raise NotApplicable("no checkpoint is complete")


def _is_whole(checkpoint: Checkpoint) -> bool:
    layout = checkpoint.optional("layout")
    if not checkpoint.complete or layout is None or layout.missing:
        return False
    # While a directory is being deleted its own time is of right now, and no file in it is as young.
    run = checkpoint.run
    changed = run.entry_of(checkpoint.name).mtime_ns
    newest = max((entry.mtime_ns for entry in checkpoint.entries.values() if entry.kind == FILE), default=changed)
    return not (changed - newest > 1_000_000_000 and run.clock.recent(changed))


def _is_newest(newest: Checkpoint, best: str) -> bool:
    """Say whether the best is the newest one for Trainer, which compares paths as text."""
    if newest.best_recorded != newest.name:
        return False
    written = (newest.optional("arguments") or {}).get("output_dir")
    return not isinstance(written, str) or parent(best) == plain(written)
