"""steps/unsaved-tail."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, NotApplicable, Run, Severity, Violation, rule
from audit_rules.steps.reset import only_the_best_is_left


@rule(
    Severity.WARNING,
    remedy="Resume: these steps are trained again. Save more often (save_steps below the steps of a batch), or always at the "
    "end of one.",
    explained_by=("steps/reset", "files/incomplete-checkpoint", "files/leftover", "steps/directory-mismatch"),
)
def unsaved_tail(run: Run) -> Iterator[Violation]:
    """Steps were trained after the newest checkpoint, and no checkpoint holds them.

    With ``save_steps`` larger than a batch nothing of the batch is kept: the next one resumes from before it, and its
    data may be gone by then. The ledger of `audit train` tells of a leg that failed or was stopped at a later step; and
    ``trainer_state.json`` in the run's root, which ``save_state()`` writes at the end, is of a later step.

    Not judged: what was taken up again since, by the guard or by a leg; a checkpoint that was there and has gone
    (steps/reset); the state in the root where the final model was saved beside it, where a checkpoint was saved after
    it, or where it belongs to another history; and strategies that mean to save nothing or the best alone.
    """
    newest = max((checkpoint.step for checkpoint in run.checkpoints), default=0)
    ended = run.records.ended_early_at
    if ended > newest:
        yield Violation(
            f"Steps {newest + 1} to {ended} were trained and not saved: the last leg ended early at step {ended}, and the newest "
            f"checkpoint is of step {newest}",
            expected=ended,
            actual=newest,
            step=ended,
        )
        return
    if ended:
        return
    if not run.checkpoints:
        raise NotApplicable("there is no checkpoint, and the ledger tells of no leg that ended early")
    step = _left_behind(run, run.newest)
    if step > newest:
        yield Violation(
            f"Steps {newest + 1} to {step} were trained and not saved: training ended at step {step}, and the newest "
            f"checkpoint is of step {newest}",
            file=run.backend.state_file,
            expected=step,
            actual=newest,
            step=step,
        )


def _left_behind(run: Run, newest: Checkpoint) -> int:
    """The step of the state in the root. Raises NotApplicable where that says nothing of steps that were lost."""
    name = run.backend.state_file
    if name not in run.entries:
        raise NotApplicable("there is no trainer state in the run's root")
    if run.final_model:
        raise NotApplicable("the final model was saved in the run's root")
    if newest.arguments.get("save_strategy") not in ("steps", "epoch"):
        raise NotApplicable("the training did not mean to save its last steps")
    if run.entry_of(newest.name).mtime_ns > run.entry_of(name).mtime_ns:
        raise NotApplicable("the newest checkpoint was saved after the trainer state in the run's root")
    if only_the_best_is_left(run):
        raise NotApplicable("training ended, and Trainer left only the best checkpoint (save_total_limit 1)")
    state, history = run.root_state.state, run.root_state.history
    if state is None or history is None or not len(newest.history) or history.base is not newest.history:
        raise NotApplicable("the trainer state in the run's root does not continue the newest checkpoint")
    if run.records.highest_ever >= state.global_step:
        raise NotApplicable(f"a checkpoint of step {state.global_step} or later had been there")
    return state.global_step
