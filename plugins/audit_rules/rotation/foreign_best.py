"""rotation/foreign-best."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, NotApplicable, Run, Severity, Violation, rule
from audit_rules.rotation._shared import one_history


@rule(
    Severity.WARNING,
    remedy="Continue the original run, or move it away before you resume the copy: Trainer then forgets that path.",
)
def foreign_best(run: Run, newest: Checkpoint) -> Iterator[Violation]:
    """The best checkpoint that is recorded lies outside this run, and exists.

    ``best_model_checkpoint`` keeps the path under which the run was trained. If the run is copied and the original is
    still there, a resume of the copy takes the original's checkpoint for its best: its rotation does not protect the
    copy's own one, and with ``load_best_model_at_end`` Trainer 5.23 loads the weights of the original at the end
    (verified to the bit), without a message.

    Not judged without ``load_best_model_at_end``, and for a relative path: that depends on where the trainer is
    started. The same directory reached by another name (a link, a second mount) is no other run.
    """
    if run.records.snapshot:
        raise NotApplicable("a snapshot holds the newest checkpoint; the best one is in the run")
    one_history(run)
    if not newest.state.best_model_checkpoint:
        raise NotApplicable("no best checkpoint is recorded")
    if newest.arguments.get("load_best_model_at_end") is not True:
        raise NotApplicable("load_best_model_at_end is not set")
    elsewhere = run.best_elsewhere
    if elsewhere:
        yield Violation(
            f"{newest.name} records {elsewhere} as its best, which lies outside this run: a resume would load that "
            "model at the end",
            actual=elsewhere,
        )
