"""rotation/best-deleted."""

import os
from collections.abc import Iterator

from audit.plugin import Checkpoint, NotApplicable, Run, Severity, Violation, rule
from audit_rules.rotation._shared import last_part, one_history, parent, plain


@rule(
    Severity.ERROR,
    remedy="Restore that checkpoint from a copy. Without it the best model is lost, and no later one is saved as best "
    "until it beats the lost value.",
)
def best_deleted(run: Run, newest: Checkpoint) -> Iterator[Violation]:
    """The best checkpoint's directory is gone.

    ``best_model_checkpoint`` in ``trainer_state.json`` names it, and rotation protects it, so somebody deleted it, or
    rotation did because the path was written in another way. Trainer 5.23 then forgets the path with a warning, keeps
    ``best_metric`` and loads nothing at the end: the model in memory is the last one, without a message.

    Only the last component of the path is compared, since trees get moved. Only the newest checkpoint is asked: what
    was best earlier may be rotated out. A step that was best without having been saved leaves the path null or at the
    best one that was. A best of another run, from which this one was started, is not missed here, nor is any in a
    snapshot.
    """
    if run.records.snapshot:
        raise NotApplicable("a snapshot holds the newest checkpoint; the best one is in the run")
    one_history(run)
    best = newest.state.best_model_checkpoint
    if not best:
        raise NotApplicable("no best checkpoint is recorded")
    name = newest.best_recorded or ""
    if run.backend.checkpoint_step(name) is None:
        raise NotApplicable(f"the best checkpoint has a name of its own: {name}")
    if name in run.entries:
        return
    written = (newest.optional("arguments") or {}).get("output_dir")
    homes = {last_part(plain(written))} if isinstance(written, str) else set()
    homes.add(os.path.basename(os.path.abspath(run.path)))
    if last_part(parent(best)) not in homes:
        raise NotApplicable(f"the best checkpoint belongs to another run: {best}")
    yield Violation(
        f"{name}, the best checkpoint according to {newest.name} (metric {newest.state.best_metric}), is gone",
        expected=name,
    )
