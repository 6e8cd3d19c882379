"""What a rehearsal asks of a training backend: restore a checkpoint, compare it with its files, train a few steps.

Everything here is plain values, as in :mod:`audit.backend.training`: a rehearsal runs in a process of its own.
"""

from typing import NamedTuple, Protocol

from audit.backend.training import LegRequest, Tell

WEIGHTS, OPTIMIZER, SCHEDULER, RANDOM = "weights", "optimizer state", "schedule", "random states"
"""What a resume restores."""


class RehearsalRequest(NamedTuple):
    """Resume as ``leg`` says, and train ``steps`` steps of it; 0: only restore.

    ``leg.run`` is a directory of the rehearsal's own; ``leg.resume_from`` is only read. ``leg.last_step`` is the end of
    the real leg, which the schedule may depend on. ``arrivals`` are checkpoints that were saved after one of the steps,
    each with its step: the state after that step is compared with their files.
    """

    leg: LegRequest
    steps: int
    arrivals: tuple[tuple[int, str], ...] = ()


class Compared(NamedTuple):
    """A part of the state, compared with the files of a checkpoint: so many ``values``, of which ``different`` differ.

    ``first`` names the first that differs, ``largest`` is the largest difference of two numbers relative to the largest
    number in the tensor; None if nothing differs or it is no number. ``missed``: why it, or some of it, was not
    compared; a part with 0 ``values`` was not compared at all.
    """

    part: str
    values: int = 0
    different: int = 0
    first: str | None = None
    largest: float | None = None
    missed: str | None = None


class Replayed(NamedTuple):
    """One step that was trained again, with what was logged of it.

    ``examples`` are the numbers of its examples in the order of the batch, from 0; None if that is not known.
    """

    step: int
    loss: float | None = None
    grad_norm: float | None = None
    learning_rate: float | None = None
    examples: tuple[int, ...] | None = None


class Arrival(NamedTuple):
    """The state after ``step``, compared with the checkpoint that was saved there."""

    step: int
    parts: tuple[Compared, ...]


class Rehearsal(NamedTuple):
    """What a rehearsal saw. ``restored``: the state before the first update, compared with the checkpoint's files.

    ``dtype`` is that of the computation ("float32", "bfloat16", "float16"), ``device`` its kind ("cpu", "cuda").
    ``draws``: whether the first step drew random numbers; None if no step was trained. ``restore_seconds`` is the time
    until the comparison was made, the libraries included, ``seconds`` the whole.
    """

    restored: tuple[Compared, ...]
    steps: tuple[Replayed, ...] = ()
    arrivals: tuple[Arrival, ...] = ()
    dtype: str = "float32"
    device: str = "cpu"
    draws: bool | None = None
    restore_seconds: float = 0.0
    seconds: float = 0.0


class RehearsingBackend(Protocol):
    """What a training backend may add for `audit rehearse`."""

    libraries: tuple[str, ...]
    """Distributions whose versions decide whether a step has the same result bit for bit: "torch", ..."""

    def rehearse(self, request: RehearsalRequest, tell: Tell) -> Rehearsal:
        """Restore, compare, and train the steps; change nothing outside ``request.leg.run``.

        Raises as :meth:`audit.backend.training.TrainingBackend.train`, and AuditError for a training that would have
        effects outside of it.
        """
        ...
