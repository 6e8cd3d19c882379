"""A Trainer that can be stopped after any step: the weights are those of a training that was not.

Trainer's loop (transformers 5.23, ``Trainer._run_epoch``) takes the end of a training for the end of an epoch. It then
evaluates, logs and saves by the strategies "epoch", although an uninterrupted training would do none of it there. So a
leg that is stopped before its end does nothing at that point. A leg that ends is saved there and nowhere else in its
last step: after the last evaluation, so there is no checkpoint of that step from before it.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from audit.plugin import Step, Tell, checkpoint_name


class Best(NamedTuple):
    """The best checkpoint is kept; ``so_far``: its step and value as the leg begins, None if there is none."""

    so_far: tuple[int, float] | None

    def put(self, args: Any, state: Any) -> None:
        """Let the trainer go on from it, whatever the state that it resumed from has recorded."""
        step, value = self.so_far or (None, None)
        state.best_global_step, state.best_metric = step, value
        state.best_model_checkpoint = None if step is None else os.path.join(args.output_dir, checkpoint_name(step))


def trainer_class(
    stop: Any, torch: Any, base: Any, collating: Callable[[Callable[[Any], Any]], Callable[[Any], Any]] | None = None
) -> Any:
    """Return the subclass of ``base``, a Trainer; ``stop`` is what :func:`stop_at` returned.

    ``collating`` makes of the trainer's collator the one that batches of the training are made with.
    """

    def seeded(loader: Any, seed: int) -> Any:
        # Starting an iterator draws one number from the global generator: a leg in two halves would then have other
        # dropout masks than the same leg in one. Workers that persist even draw it once in each process.
        inner = getattr(loader, "base_dataloader", loader)
        inner.generator = torch.Generator().manual_seed(seed)
        return loader

    class OrderedTrainer(base):
        """A Trainer that takes the examples in order, and draws random numbers for the model alone."""

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)

        def get_train_dataloader(self) -> Any:
            loader = seeded(super().get_train_dataloader(), self.args.seed)
            if collating is not None:
                inner = getattr(loader, "base_dataloader", loader)
                inner.collate_fn = collating(inner.collate_fn)
            return loader

        def get_eval_dataloader(self, *arguments: Any, **more: Any) -> Any:
            return seeded(super().get_eval_dataloader(*arguments, **more), self.args.seed)

        def _evaluate(self, *arguments: Any, **more: Any) -> Any:
            if more.get("skip_scheduler") and self.state.global_step:
                return {}  # eval_on_start: a leg that continues is not the start of the training
            return super()._evaluate(*arguments, **more)

        def _determine_best_metric(self, *arguments: Any, **more: Any) -> Any:
            # With save_strategy "best", this alone says whether the step is saved.
            best = super()._determine_best_metric(*arguments, **more)
            return best if stop.saves is None else stop.saves

    return OrderedTrainer


def stop_at(last: int | None, tell: Tell, torch: Any, transformers: Any, best: Best | None = None) -> Any:
    """Return the callback that ends a leg at step ``last``, or after the step in which a signal came.

    With ``best`` the last step of the leg is evaluated, too, so that the checkpoint of each batch has a value.
    """

    class StopAt(transformers.TrainerCallback):
        """Saves and stops; reports each step. ``saves``: whether to save now, None if Trainer decides."""

        signal: int | None = None
        step: int | None = None
        saves: bool | None = None
        begun = False

        def on_train_begin(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
            self.begun = True
            # On a resume Trainer takes these from the checkpoint's state and ignores the configuration.
            state.compute_steps(args, state.max_steps)
            if best is not None:
                best.put(args, state)

        def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> Any:
            self.step = state.global_step
            tell(Step(state.global_step))
            self.signal = _agreed(self.signal, args, torch)
            whole = state.global_step == last
            if whole or self.signal is not None:
                self.saves = control.should_save = not whole
                control.should_training_stop = True
            if whole and best is not None and args.eval_strategy == "steps":
                control.should_evaluate = True
            return control

        def on_epoch_end(self, args: Any, state: Any, control: Any, **unused: Any) -> Any:
            if state.global_step == last:
                self.saves = control.should_save = True
            else:
                control.should_log = control.should_evaluate = control.should_save = False
            return control

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **unused: Any) -> None:
            known = ("loss", "learning_rate", "grad_norm", "eval_loss")
            values = ((logs or {}).get(key) for key in known)
            loss, rate, norm, eval_loss = (float(value) if isinstance(value, int | float) else None for value in values)
            tell(Step(state.global_step, loss, rate, norm, eval_loss))

    return StopAt()


def _agreed(number: int | None, args: Any, torch: Any) -> int | None:
    """Return the signal that any process got: all must stop after the same step, or the others would hang."""
    if args.world_size < 2:
        return number
    flag = torch.tensor([number or 0], device=args.device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return int(flag.item()) or None
