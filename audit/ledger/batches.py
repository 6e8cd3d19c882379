"""The batches of a run and the legs that they were trained in, files that were not trained, and ways back."""

from collections.abc import Mapping
from typing import NamedTuple

from audit.ledger.batch_events import FINISHED, RETIRED, Known
from audit.ledger.batch_parts import Drawn, Part


class Leg(NamedTuple):
    """Steps of one batch that were trained in one go: ``first_step`` is followed by ``first_example``.

    ``last_step`` is where the batch was planned to end, or has ended; None if the backend decides and it has not ended.
    ``over``: nothing more of the batch will be trained, as it was rejected or its data file is lost. The others are as
    in :class:`audit.ledger.batch_events.LegBegun`.
    """

    batch: str
    file: str
    first_step: int
    last_step: int | None
    first_example: int
    examples: int | None
    examples_per_step: int | None
    epochs: int = 1
    order: str | None = None
    horizon: int | None = None
    decay_steps: int | None = None
    processes: int = 1
    over: bool = False
    base: Mapping[str, str] | None = None
    known: tuple[Known, ...] = ()
    rows: str | None = None
    changes: Mapping[str, float] = {}
    parts: tuple[Part, ...] = ()
    replay: tuple[Drawn, ...] = ()
    held_out: str | None = None
    best: tuple[int, float] | None = None
    seed: int = 0
    machine: Mapping[str, str] | None = None

    def example_at(self, step: int) -> int:
        """Return how many examples of the batch were trained after ``step``."""
        if self.examples_per_step is None:  # not counted: the batch is done when its planned end is
            return self.first_example
        done = self.first_example + (step - self.first_step) * self.examples_per_step
        return done if self.examples is None else min(done, self.examples)

    def whole_at(self, step: int) -> bool:
        """Whether the batch is complete after ``step``; false as long as its end is not known."""
        return self.over or (self.last_step is not None and step >= self.last_step)


class Batch(NamedTuple):
    """One data file and what became of it. Steps are those of the current history; times are UTC in ISO 8601.

    ``state`` is training, stopped, failed, finished, retired, rejected, lost or dropped; ``step`` is its newest known
    step, ``legs`` the number of its legs. ``failures`` counts those in a row at one step, ``failed_at``; ``kind`` is
    that of the last one (see :class:`audit.backend.training.LegFailed`). ``seconds`` is the sum over all legs that were
    not killed; ``to`` is where the data file went. ``parts`` are the data files of a batch of several, ``moved`` is
    where the retired ones went, by digest. ``replayed`` is how many rows of earlier batches were trained with it.
    """

    digest: str
    file: str
    state: str
    first_step: int
    last_step: int | None
    step: int
    examples: int | None
    epochs: int
    legs: int
    losses: tuple[tuple[int, float], ...]
    started: str
    ended: str | None
    reason: str | None
    failures: int
    failed_at: int | None = None
    kind: str | None = None
    seconds: float | None = None
    to: str | None = None
    parts: tuple[Part, ...] = ()
    moved: tuple[tuple[str, str | None], ...] = ()
    replayed: int = 0

    @property
    def trained(self) -> bool:
        """Whether it was trained to its end."""
        return self.state in (FINISHED, RETIRED)

    @property
    def rows(self) -> int | None:
        """How many rows of its own it has, None if they are not counted."""
        return None if self.examples is None else max(0, self.examples // max(self.epochs, 1) - self.replayed)

    @property
    def files(self) -> "tuple[Batch, ...]":
        """Its data files, each as if it were the batch; a batch of one file is that."""
        return tuple(self.file_of(part) for part in self.parts) or (self,)

    def file_of(self, part: Part) -> "Batch":
        """Return one of the files of a batch of several."""
        moved = dict(self.moved)
        state = RETIRED if part.batch in moved and self.trained else self.state
        return self._replace(
            digest=part.batch,
            file=part.file,
            state=state,
            examples=part.examples * self.epochs,
            to=moved.get(part.batch),
            parts=(),
            moved=(),
            replayed=0,
        )


class SetAside(NamedTuple):
    """A data file that was not trained.

    ``event`` is rejected (bad data), duplicate (trained before), lost (gone) or dropped (a person gave it up).
    """

    file: str
    digest: str
    event: str
    reason: str
    to: str | None
    time: str


class Return(NamedTuple):
    """The run was taken back to ``checkpoint`` (``--back-to``); ``dropped`` are names of files, ``time`` is UTC."""

    checkpoint: str
    step: int
    dropped: tuple[str, ...]
    time: str
