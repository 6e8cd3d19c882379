"""Log what the audit finds at each save to the tracker that the training logs to.

The only module of this package that imports transformers.
"""

from typing import Any

from transformers import TrainerCallback

from audit_trackers.telling import Telling


class TrackersCallback(TrainerCallback):
    """Log verdict, errors, warnings, the step to resume from and the addresses of pushed checkpoints at each save.

    To the runs that Trainer's own callbacks have opened (``report_to``): TensorBoard, wandb, MLflow, Trackio. Put it
    after ``AuditCallback``, whose verification it logs. ``trainer`` is needed for TensorBoard alone, whose writer is
    an attribute of its callback. A tracker that raises, or takes longer than ``timeout_seconds`` at a save, is named
    once in the logger "audit" and then left alone; nothing here ends a training.
    """

    def __init__(self, trainer: Any = None, timeout_seconds: float = 30.0) -> None:
        self._trainer = trainer
        self._telling = Telling(timeout_seconds)

    def on_train_begin(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        """Listen to the verifications of this run."""
        if state.is_world_process_zero:
            callbacks = self._trainer.callback_handler.callbacks if self._trainer is not None else ()
            self._telling.begin(args.output_dir, callbacks)

    def on_save(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        """Log what was found."""
        if state.is_world_process_zero and not state.is_hyper_param_search:
            self._telling.saved(args.output_dir, state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        """Log what was pushed since the last save, where the tracker is still open."""
        if state.is_world_process_zero:
            self._telling.pushed(args.output_dir)
