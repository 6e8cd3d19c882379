"""rotation/best-deleted."""

import os
from collections.abc import Iterator

from audit.plugin import Checkpoint, NotApplicable, Run, Severity, Violation, rule
from audit_rules.rotation._shared import last_part, one_history, parent, plain


@rule(
    Severity.ERROR,
    remedy="Restore that checkpoint from a copy; without it the best model is lost, and no later one is saved as best "
    "until it beats the lost value.",
)
def best_deleted(run: Run, newest: Checkpoint) -> Iterator[Violation]:
    """The directory of the best checkpoint is gone.

    ``best_model_checkpoint`` in ``trainer_state.json`` names it, and rotation protects it, so it was deleted by hand,
    or by rotation because the path is spelled differently. Trainer 5.23 then drops the path with a warning, keeps
    ``best_metric`` and silently loads nothing at the end: the model in memory is the last one.

    Only the last component of the path is compared, since directories are moved, and only that of the newest
    checkpoint: what was best earlier may be rotated out. If the best step was not saved, the path is null or that of
    the best saved one. Not reported: a best checkpoint of another run from which this one was started, and any in a
    snapshot.
    """
    if run.records.snapshot:
        raise NotApplicable("a snapshot has the newest checkpoint; the best one is in the run")
    one_history(run)
    best = newest.state.best_model_checkpoint
    if not best:
        raise NotApplicable("no best checkpoint is recorded")
    name = newest.best_recorded or ""
    if run.backend.checkpoint_step(name) is None:
        raise NotApplicable(f"the best checkpoint has an unusual name: {name}")
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
