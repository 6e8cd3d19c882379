"""What a command has saved so far, from the files of the run alone."""

import os
from collections.abc import Sequence
from math import isfinite, prod
from typing import NamedTuple

from audit.plugin import (
    Backend,
    Damage,
    LocalStorage,
    LogEntry,
    StateDocument,
    Step,
    Tell,
    read_trainer_state,
    read_training_args,
)

_Stamp = tuple[int, int, int]


class Saved(NamedTuple):
    """A checkpoint that is new since the leg began; it has a state file, which is written last."""

    step: int
    state: str
    """Path of its state file, relative to the run."""
    stamp: _Stamp
    arguments: str
    """Path of its training arguments."""


class Progress:
    """Looks for checkpoints that are new, cheaply: one listing, and one ``stat`` for each checkpoint."""

    def __init__(self, run: str, first_step: int, backends: Sequence[Backend]) -> None:
        self._run = run
        self._backends = backends
        self.first_step = first_step
        self.step = first_step
        """The last step that is known."""
        self._told: Saved | None = None
        self._before = {item.state: item.stamp for item in self._states()}

    def newest(self) -> Saved | None:
        """Return the newest checkpoint of this leg; an older one of a later step is not of this leg."""
        fresh = [
            item
            for item in self._states()
            if item.step > self.first_step and self._before.get(item.state) != item.stamp
        ]
        return max(fresh, default=None)

    def look(self, tell: Tell) -> None:
        """Tell the steps that the newest checkpoint has logged since the last call."""
        found = self.newest()
        if found is None or found == self._told:
            return
        self._told = found
        for entry in _logged(self._read(found), self.step, found.step):
            tell(Step(entry["step"], entry.get("loss"), entry.get("learning_rate")))
        self.step = max(self.step, found.step)
        tell(Step(found.step))

    def losses(self, saved: Saved) -> tuple[tuple[int, float], ...]:
        """Return the losses that a checkpoint logged during this leg."""
        entries = _logged(self._read(saved), self.first_step, saved.step)
        return tuple((entry["step"], float(entry["loss"])) for entry in entries if _is_finite(entry.get("loss")))

    def examples_per_step(self, saved: Saved) -> int | None:
        """Return how many examples a step took according to the training arguments; None if they do not say."""
        try:
            with LocalStorage(self._run).open(saved.arguments) as reader:
                found = read_training_args(reader)
        except OSError:
            return None
        values = {} if isinstance(found, Damage) else found.values
        numbers = [
            values.get("per_device_train_batch_size"),
            values.get("gradient_accumulation_steps"),
            values.get("num_processes"),
        ]
        devices = values.get("_n_gpu")  # each of several devices of one process takes a whole batch
        numbers.append(devices if isinstance(devices, int) and devices > 1 else 1)
        known = [number for number in numbers if isinstance(number, int) and number > 0]
        return prod(known) if len(known) == len(numbers) else None

    def _states(self) -> list[Saved]:
        try:
            names = os.listdir(self._run)
        except OSError:
            return []  # the command makes it, or the audit reports it as missing
        found = []
        for name in names:
            for backend in self._backends:
                step = backend.checkpoint_step(name)
                if step is None or not backend.state_file:
                    continue  # without a state nothing tells how far a checkpoint came
                state = os.path.join(name, backend.state_file)
                try:
                    info = os.stat(os.path.join(self._run, state))
                except OSError:
                    continue  # incomplete
                stamp = (info.st_mtime_ns, info.st_size, info.st_ino)
                found.append(Saved(step, state, stamp, os.path.join(name, backend.arguments_file)))
                break
        return found

    def _read(self, saved: Saved) -> StateDocument | None:
        """Read a state; None if it is damaged, which the verification after the leg reports."""
        try:
            with LocalStorage(self._run).open(saved.state) as reader:
                document = read_trainer_state(reader)
        except OSError:
            return None
        return None if isinstance(document, Damage) else document


def _logged(document: StateDocument | None, after: int, until: int) -> list[LogEntry]:
    """Return the entries of the log that have a loss, from the step after ``after`` on."""
    if document is None or document.history is None or document.history.problems:
        return []
    return [entry for entry in document.history if after < entry["step"] <= until and _is_number(entry.get("loss"))]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and isfinite(value)
