"""steps/unsaved-tail."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, NotApplicable, Run, Severity, Violation, rule
from audit_rules.steps.reset import only_the_best_is_left


@rule(
    Severity.WARNING,
    remedy="Resume, which trains these steps again. Save more often (save_steps below the steps of a batch), or always at the "
    "end of a batch.",
    explained_by=("steps/reset", "files/incomplete-checkpoint", "files/leftover", "steps/directory-mismatch"),
)
def unsaved_tail(run: Run) -> Iterator[Violation]:
    """Steps were trained after the newest checkpoint and are in no checkpoint.

    If ``save_steps`` is larger than a batch, nothing of the batch is kept: the next one resumes from before it, and its
    data may be gone by then. Found if the ledger of `audit train` has a leg that failed or was stopped at a later step,
    or if ``trainer_state.json`` in the run's root, which ``save_state()`` writes at the end, is of a later step.

    Not checked: what was resumed since, by the guard or by a leg; a checkpoint that was there before (steps/reset); the
    state in the root if the final model was saved beside it, a checkpoint was saved after it (unknown behind a URL), or
    it belongs to another history; and strategies that save nothing, or only the best.
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
        raise NotApplicable("there is no checkpoint, and the ledger has no leg that ended early")
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
    """The step of the state in the root. Raises NotApplicable if it is no evidence of lost steps."""
    name = run.backend.state_file
    if name not in run.entries:
        raise NotApplicable("there is no trainer state in the run's root")
    if run.final_model:
        raise NotApplicable("the final model was saved in the run's root")
    if newest.arguments.get("save_strategy") not in ("steps", "epoch"):
        raise NotApplicable("the save strategy does not save the last steps")
    if not run.clock.by_trainer:
        raise NotApplicable("the files have no times of the trainer, so which state was saved last is not known")
    if run.entry_of(newest.name).mtime_ns > run.entry_of(name).mtime_ns:
        raise NotApplicable("the newest checkpoint was saved after the trainer state in the run's root")
    if only_the_best_is_left(run):
        raise NotApplicable("training ended, and Trainer left only the best checkpoint (save_total_limit 1)")
    state, history = run.root_state.state, run.root_state.history
    if state is None or history is None or not len(newest.history) or history.base is not newest.history:
        raise NotApplicable("the trainer state in the run's root does not continue the newest checkpoint")
    if run.records.highest_ever >= state.global_step:
        raise NotApplicable(f"there was a checkpoint of step {state.global_step} or later")
    return state.global_step
