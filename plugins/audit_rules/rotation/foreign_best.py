"""rotation/foreign-best."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, NotApplicable, Run, Severity, Violation, rule
from audit_rules.rotation._shared import one_history


@rule(
    Severity.WARNING,
    remedy="Continue the original run, or move it away before you resume the copy: Trainer then drops that path.",
)
def foreign_best(run: Run, newest: Checkpoint) -> Iterator[Violation]:
    """The recorded best checkpoint is in another run.

    ``best_model_checkpoint`` is the path where the run was trained. If the run is copied and the original is still
    there, a resume of the copy takes the original's checkpoint as its best: its rotation does not protect the copy's
    own best checkpoint, and with ``load_best_model_at_end`` Trainer 5.23 silently loads the weights of the original at
    the end (verified to the bit).

    Not checked without ``load_best_model_at_end``, nor for a relative path, which depends on where the trainer is
    started. The same directory under another name (a link, a second mount) is not another run.
    """
    if run.records.snapshot:
        raise NotApplicable("a snapshot has the newest checkpoint; the best one is in the run")
    one_history(run)
    if not newest.state.best_model_checkpoint:
        raise NotApplicable("no best checkpoint is recorded")
    if newest.arguments.get("load_best_model_at_end") is not True:
        raise NotApplicable("load_best_model_at_end is not set")
    elsewhere = run.best_elsewhere
    if elsewhere:
        yield Violation(
            f"{newest.name} records {elsewhere} as its best, which is outside this run: a resume would load that "
            "model at the end",
            actual=elsewhere,
        )
