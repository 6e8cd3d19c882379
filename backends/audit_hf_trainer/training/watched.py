"""A Trainer that is watched: what it restores is compared before the first update, and what it logs is kept.

Transformers 5.24: weights, optimizer and schedule are loaded before ``on_train_begin``; the random states at the
beginning of the first epoch, or, if batches are skipped, after the first batches were taken (``Trainer._run_epoch``).
``on_step_begin`` comes after all of them, and before the first update.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import torch
import transformers

from audit.plugin import RANDOM_PART, Arrival, AuditError, Compared, Phase, Rehearsal, Replayed, Step, Tell
from audit_hf_trainer.training.drawing import generators
from audit_hf_trainer.training.restored import compare_random_states, compare_state, divided_by, merged

T = TypeVar("T")
NUMBER = "audit_example"
LOGGED = ("loss", "grad_norm", "learning_rate")


class Enough(Exception):
    """All that was asked for is seen: nothing more is trained."""


class Watched(transformers.TrainerCallback):
    """Watches one rehearsal of ``steps`` steps from ``checkpoint``, and ends the training after them.

    ``last`` is the end of the real training, None if that is not known. ``first`` is the number of the first example.
    ``fresh``: numbers of steps (logging, ...) are those of the arguments, not those of the checkpoint, as in
    ``audit train``. ``saves`` and ``signal`` are for :func:`audit_hf_trainer.training.stopping.trainer_class`.
    """

    saves = False
    signal: int | None = None
    begun = False

    def __init__(
        self,
        checkpoint: str,
        steps: int,
        tell: Tell,
        *,
        last: int | None = None,
        first: int = 0,
        arrivals: Sequence[tuple[int, str]] = (),
        changed: bool = False,
        fresh: bool = False,
    ) -> None:
        self._checkpoint, self._steps, self._tell, self._last = checkpoint, steps, tell, last
        self._first, self._arrivals, self._changed, self._fresh = first, dict(arrivals), changed, fresh
        self._begin = 0
        self._started = time.perf_counter()
        self._restored_after: float | None = None
        self._random: Compared | None = None
        self._restored: tuple[Compared, ...] = ()
        self._steps_seen: dict[int, Replayed] = {}
        self._arrived: list[Arrival] = []
        self._queue: list[tuple[int, ...]] = []
        """The examples of each batch that was read and not yet trained."""
        self._batches = 0
        self._numbered = False
        self._states: Any = None
        self._draws: bool | None = None
        self.step: int | None = None
        self.trainer: Any = None

    def watched(self, base: Any) -> Any:
        """Return the subclass of ``base``, a Trainer, that is watched and saves nothing."""
        watch = self

        class WatchedTrainer(base):
            """Says when the random states are restored."""

            def _load_rng_state(self, checkpoint: str | None) -> None:
                super()._load_rng_state(checkpoint)
                if checkpoint is not None and watch._random is None:
                    watch._random = compare_random_states(self, checkpoint)

            def _save_checkpoint(self, *unused: Any, **more: Any) -> None:
                """Nothing is saved."""

            def save_model(self, *unused: Any, **more: Any) -> None:
                """Nothing is saved."""

            def save_state(self) -> None:
                """Nothing is saved."""

        return WatchedTrainer

    def watch(self, trainer: Any) -> None:
        """Watch a trainer that was made."""
        self.trainer = trainer
        trainer.__class__ = self.watched(type(trainer))
        if self not in trainer.callback_handler.callbacks:
            trainer.add_callback(self)

    def numbered(self, rows: Any, count: int) -> Any:
        """Return the examples, each with its number; those from ``count`` on only fill the last step."""
        self._numbered = True
        return Numbered(rows, count)

    def collating(self, collate: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return the collator that notes which examples it is given."""

        def noted(rows: Sequence[Any]) -> Any:
            if all(NUMBER in row for row in rows):  # those of an evaluation have none
                self._queue.append(tuple(self._first + row[NUMBER] for row in rows if row[NUMBER] is not None))
            return collate(rows)

        return noted

    def on_train_begin(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        self.begun = True
        if self._fresh:
            state.compute_steps(args, state.max_steps)

    def on_step_begin(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        self._batches = 0
        if self._restored_after is None:
            self._compare()
            self._states = _generators()
        if state.global_step >= self._begin + self._steps:
            raise Enough

    def _compare(self) -> None:
        self._begin = self.trainer.state.global_step
        self._tell(Phase("comparing what was restored with the files"))
        chance = self._random or Compared(RANDOM_PART, missed="they were not loaded")
        self._restored = self._of_team((*compare_state(self.trainer, self._checkpoint, self._changed), chance))
        self._restored_after = time.perf_counter() - self._started

    def on_substep_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        self._batches += 1

    def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> Any:
        self.step = step = state.global_step
        if self._draws is None:
            self._draws = _generators() != self._states
        taken, self._queue = self._queue[: self._batches + 1], self._queue[self._batches + 1 :]
        self._steps_seen[step] = Replayed(step, examples=self._of_all(taken, args) if self._numbered else None)
        if step in self._arrivals:
            self._arrived.append(Arrival(step, self._arrive(self._arrivals[step], bool(control.should_evaluate))))
        self._tell(Step(step))
        control.should_save = False
        if step >= self._begin + self._steps:
            control.should_training_stop = True
            control.should_evaluate = False
        return control

    def _arrive(self, path: str, evaluated: bool) -> tuple[Compared, ...]:
        """Compare the state after a step with a checkpoint that was saved then.

        An evaluation is still to come, before the save: it may draw random numbers and move the schedule.
        """
        if evaluated:
            return self._of_team(compare_state(self.trainer, path, changed=True)[:2])
        return self._of_team((*compare_state(self.trainer, path), compare_random_states(self.trainer, path)))

    def _of_team(self, parts: tuple[Compared, ...]) -> tuple[Compared, ...]:
        """The parts as all processes have compared them."""
        gathered = _gathered(parts, self.trainer.args)
        divided = divided_by(self.trainer) is not None
        return tuple(merged(of_one, divided) for of_one in zip(*gathered, strict=True))

    def on_epoch_end(self, args: Any, state: Any, control: Any, **unused: Any) -> Any:
        control.should_save = False
        whole = state.global_step == self._last or (self._last is None and float(state.epoch or 0).is_integer())
        if control.should_training_stop and not whole:
            control.should_log = control.should_evaluate = False
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **unused: Any) -> None:
        if "loss" not in (logs or {}):
            return
        loss, norm, rate = (float(logs[key]) if isinstance(logs.get(key), int | float) else None for key in LOGGED)
        known = self._steps_seen.get(state.global_step, Replayed(state.global_step))
        self._steps_seen[state.global_step] = known._replace(loss=loss, grad_norm=norm, learning_rate=rate)

    def _of_all(self, taken: Sequence[tuple[int, ...]], args: Any) -> tuple[int, ...]:
        mine = [number for batch in taken for number in batch]
        if args.world_size < 2:
            return tuple(mine)
        return tuple(sorted(number for part in _gathered(mine, args) for number in part))

    def run(self) -> Rehearsal:
        """Let the trainer resume from the checkpoint and return what was seen. Raises AuditError if that is nothing."""
        with suppress(Enough):
            self.trainer.train(resume_from_checkpoint=self._checkpoint)
        if self._restored_after is None:
            raise AuditError(
                f"{os.path.basename(self._checkpoint)}: the trainer has no step left to train after it, so nothing that was "
                "restored was compared; give it more steps or epochs (max_steps, num_train_epochs)"
            )
        return Rehearsal(
            self._restored,
            tuple(self._steps_seen[step] for step in sorted(self._steps_seen)),
            tuple(self._arrived),
            _dtype(self.trainer),
            str(self.trainer.args.device.type),
            self._draws,
            round(self._restored_after or 0.0, 3),
            round(time.perf_counter() - self._started, 3),
        )


class Numbered:
    """Examples, each with its number in ``NUMBER``; None for those from ``count`` on."""

    def __init__(self, rows: Any, count: int) -> None:
        self._rows, self._count = rows, count

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Any:
        return {**self._rows[index], NUMBER: index if index < self._count else None}


def _gathered(value: T, args: Any) -> list[T]:
    """The values of all processes, by rank."""
    if args.world_size < 2:
        return [value]
    found: list[Any] = [None] * args.world_size
    torch.distributed.all_gather_object(found, value)
    return found


def _generators() -> tuple[Any, ...]:
    """The states of the generators that a forward pass may draw from."""
    cuda = tuple(item.numpy().tobytes() for item in torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else ()
    return *generators(), cuda


def _dtype(trainer: Any) -> str:
    """The least precise type that a step computes with."""
    if trainer.args.bf16 or trainer.args.fp16:
        return "bfloat16" if trainer.args.bf16 else "float16"
    kinds = {str(item.dtype).removeprefix("torch.") for item in trainer.model.parameters() if item.is_floating_point()}
    return next((kind for kind in ("bfloat16", "float16") if kind in kinds), "float32")
