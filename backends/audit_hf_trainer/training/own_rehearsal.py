"""Rehearsals of a training script of one's own, for tests: each is one assertion.

A factory makes the trainer, as the script does: with the same model, data and arguments, and new objects at each call.
"""

import contextlib
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import transformers

from audit.plugin import (
    AuditError,
    Checkpoint,
    Rehearsal,
    RehearsalReport,
    Run,
    checkpoint_name,
    judge_rehearsal,
    load_plugins,
    logged_after,
    open_run,
    steps_to_train,
)
from audit_hf_trainer.training.effects import PUSHES, check_effects
from audit_hf_trainer.training.leg import quiet
from audit_hf_trainer.training.watched import Watched

MakeTrainer = Callable[[], Any]
NAME = "hf-trainer"
OWN = ("PrinterCallback", "ProgressCallback", "NotebookProgressCallback")


def rehearse(
    make_trainer: MakeTrainer,
    run: str | os.PathLike[str],
    checkpoint: int | None = None,
    steps: int = 5,
    *,
    exact: bool = False,
    callbacks: Sequence[str | type] = (),
    scratch: str | os.PathLike[str] | None = None,
) -> RehearsalReport:
    """Restore a checkpoint of ``run`` and train the next ``steps`` steps again; the report is true if all is the same.

    ``make_trainer`` returns the Trainer that has trained the run. What is restored is compared with the files of the
    checkpoint before the first update, and each step with the log of the newest checkpoint. ``checkpoint`` None: the
    newest one after which so many steps were logged, or else any. ``exact``: equal bit for bit, as it is on the same
    machine with the same versions; otherwise within the tolerances of docs/rehearse.md. ``callbacks``: classes of
    callbacks, or their names, that may run. If fewer than ``steps`` steps were logged after it, the report says how
    many were compared; a trainer that ends before them differs.

    The run is only read; whatever the trainer writes goes into a directory that is deleted, made in ``scratch`` or else
    where the system has its temporary ones. Raises AuditError for a trainer that pushes to the Hub, reports to a
    tracker or has another callback, and if no step can be judged.
    """
    opened = _opened(os.fspath(run))
    chosen = _chosen(opened, checkpoint, steps)
    newest = opened.lineage_of(chosen)[-1]
    logged = logged_after(newest.history, chosen.step)
    count = steps_to_train(logged, chosen.step, steps, None)
    if steps and not count:
        raise AuditError(f"{chosen.name}: no step after it is in the log of {newest.name}, so none can be judged")
    path = os.path.join(opened.path, chosen.name)
    with _aside(scratch) as aside:
        found = _watched(make_trainer, aside, path, count, callbacks, ())
    logged = [item for item in logged if item.step <= chosen.step + count]
    judgement = judge_rehearsal(found, logged, chosen.step, exact)
    inexact = None if exact else "exact=True was not given"
    unjudged = None if steps else "none was asked for"
    end = f"{count} of {steps} steps are compared: the log of {newest.name} has none after step {chosen.step + count}"
    return RehearsalReport(
        path, chosen.step, exact, inexact, found, tuple(logged), newest.name, judgement, unjudged,
        notes=(end,) if count < steps else (), asked=steps,
    )  # fmt: skip


def straight_against_resumed(
    make_trainer: MakeTrainer,
    steps: int,
    at: int | None = None,
    *,
    callbacks: Sequence[str | type] = (),
    scratch: str | os.PathLike[str] | None = None,
) -> RehearsalReport:
    """Train ``steps`` steps straight, and again with a save and a resume after step ``at`` (the middle).

    The report is true if the steps after the resume, and the state at the end, are those of the straight training, bit
    for bit. Raises AuditError as :func:`rehearse`, and for a factory that makes another trainer at its second call.
    """
    middle = steps // 2 if at is None else at
    if not 0 < middle < steps:
        raise AuditError(f"at is {middle}, and a resume must come after the first and before the last of {steps} steps")
    with _aside(scratch) as aside:
        straight, half = os.path.join(aside, "straight"), os.path.join(aside, "half")
        told = _trained(make_trainer, straight, steps, callbacks)
        again = _trained(make_trainer, half, middle, callbacks)
        _check_alike(told, again)
        path, end = (os.path.join(home, checkpoint_name(step)) for home, step in ((half, middle), (straight, steps)))
        resumed = os.path.join(aside, "resumed")
        found = _watched(make_trainer, resumed, path, steps - middle, callbacks, [(steps, end)])
    if not found.arrivals:
        raise AuditError(f"the training that was resumed after step {middle} ended before step {steps}")
    logged = [item for item in logged_after(told, middle) if item.step <= steps]
    judgement = judge_rehearsal(found, logged, middle, True)
    text = f"resumed after step {middle} of {steps}"
    log, asked = "the straight training", steps - middle
    return RehearsalReport(text, middle, True, None, found, tuple(logged), log, judgement, asked=asked)


def _opened(path: str) -> Run:
    registry = load_plugins()
    return open_run(path, [registry.backend(NAME)], depth="quick")


def _chosen(opened: Run, wanted: int | None, steps: int) -> Checkpoint:
    """Return the checkpoint to rehearse. Raises AuditError."""
    there = [item for item in opened.checkpoints if item.complete and opened.lineage_of(item)]
    if wanted is not None:
        found = next((item for item in there if item.step == wanted), None)
        if found is None:
            raise AuditError(f"{opened.path}: has no complete {checkpoint_name(wanted)} with a log")
        return found
    if not there:
        raise AuditError(f"{opened.path}: has no complete checkpoint with a log")
    after = {item.name: logged_after(opened.lineage_of(item)[-1].history, item.step) for item in there}
    last = {name: told[-1].step if told else 0 for name, told in after.items()}
    best = [item for item in there if last[item.name] >= item.step + max(steps, 1)]
    some = [item for item in there if last[item.name] > item.step]
    return (best or some or there)[-1]


def _watched(
    make_trainer: MakeTrainer,
    scratch: str,
    checkpoint: str,
    steps: int,
    callbacks: Sequence[str | type],
    arrivals: Sequence[tuple[int, str]],
) -> Rehearsal:
    with quiet(transformers):
        watch = Watched(checkpoint, steps, lambda event: None, arrivals=arrivals)
        trainer = _made(make_trainer, scratch, callbacks)
        watch.watch(trainer)
        return watch.run()


def _trained(make_trainer: MakeTrainer, home: str, steps: int, callbacks: Sequence[str | type]) -> list[Any]:
    """Train so many steps, save there and nowhere else; return the log."""
    with quiet(transformers):
        trainer = _made(make_trainer, home, callbacks)
        if trainer.args.save_only_model:
            raise AuditError("the trainer saves no optimizer state (save_only_model), so nothing can be resumed")
        trainer.add_callback(_Until(steps))
        trainer.train()
    reached = trainer.state.global_step
    if reached != steps:
        raise AuditError(
            f"the trainer ends after step {reached}, before step {steps}: train fewer, or give it more data"
        )
    history: list[Any] = trainer.state.log_history
    return history


def _made(make_trainer: MakeTrainer, home: str, callbacks: Sequence[str | type]) -> Any:
    """Make a trainer that writes to ``home``; random weights are the same each time. Raises AuditError."""
    transformers.set_seed(0)
    with _no_hub():
        trainer = make_trainer()
    if not isinstance(trainer, transformers.Trainer):
        raise AuditError(f"make_trainer returned a {type(trainer).__name__}, not a transformers.Trainer")
    check_effects(trainer, tuple(callbacks))
    for callback in list(trainer.callback_handler.callbacks):
        if type(callback).__name__ in OWN:
            trainer.remove_callback(callback)
    trainer.args.output_dir = home
    return trainer


@contextlib.contextmanager
def _no_hub() -> Iterator[None]:
    """Trainer makes a repository on the Hub when it is made, if it is to push there."""

    def refuse(*unused: Any, **more: Any) -> None:
        raise AuditError(f"it cannot be rehearsed: {PUSHES}")

    kept = transformers.Trainer.init_hf_repo
    transformers.Trainer.init_hf_repo = refuse
    try:
        yield
    finally:
        transformers.Trainer.init_hf_repo = kept


class _Until(transformers.TrainerCallback):
    """Ends a training after ``steps`` steps and saves there."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> Any:
        control.should_save = state.global_step >= self._steps
        # Trainer's own end, max_steps, stays one.
        control.should_training_stop = control.should_training_stop or control.should_save
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **unused: Any) -> Any:
        control.should_save = False
        if control.should_training_stop and not float(state.epoch or 0).is_integer():
            control.should_log = control.should_evaluate = False
        return control


def _check_alike(straight: Sequence[Any], again: Sequence[Any]) -> None:
    """Raise AuditError if the first steps of two trainings from the same factory differ."""
    for one, other in zip(straight, again, strict=False):
        if "loss" not in one or "loss" not in other:
            continue
        if (one["step"], one["loss"]) != (other["step"], other["loss"]):
            raise AuditError(
                f"make_trainer does not make the same trainer twice: at step {one['step']} the loss is {one['loss']!r}, then "
                f"{other['loss']!r}; make model, data and order anew at each call, from fixed seeds"
            )


@contextlib.contextmanager
def _aside(scratch: str | os.PathLike[str] | None) -> Iterator[str]:
    """A directory in ``scratch`` that is deleted; the random generators of the process go on as if nothing had been."""
    import numpy as np
    import torch

    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        with tempfile.TemporaryDirectory(prefix="audit-rehearsal-", dir=scratch) as aside:
            yield aside
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.set_rng_state(kept[2])
