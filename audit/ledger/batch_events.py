"""What the ledger records of the batches of ``audit train``: rows of the kind "batch", told apart by their ``event``.

They are written and read as those of :mod:`audit.ledger.events`; :mod:`audit.ledger.timeline_rows` replays them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from audit.ledger.back_events import BACK, DROPPED, WENT_BACK, Dropped, GoingBack, WentBack
from audit.ledger.batch_parts import Drawn, Part, as_drawn, as_parts
from audit.ledger.batch_row import batch_row, is_batch
from audit.ledger.json_values import (
    Content,
    Written,
    as_file_name,
    as_integer,
    as_losses,
    as_number,
    as_numbers,
    as_text,
    as_texts,
    as_whole,
)

Known = tuple[str, str | None, int | None]
"""A finding of an earlier verification: rule, file, place in the log."""

LEG, FINISHED, STOPPED, FAILED = "leg", "finished", "stopped", "failed"
RETIRED, REJECTED, DUPLICATE, LOST = "retired", "rejected", "duplicate", "lost"
ADOPTED, CHANGED = "adopted", "changed"
DISSOLVED = "dissolved"

_ABSENT = ("base", "known", "rows", "changes", "parts", "replay", "held_out", "best")


class LegBegun(NamedTuple):
    """A leg begins. ``batch`` is the digest of the data file, ``file`` its name, ``bytes`` its size.

    ``last_step`` is the planned end, None if the backend decides; ``examples`` is rows x epochs, None if they are not
    counted. ``order`` is that of the rows, ``horizon`` and ``decay_steps`` are those of the schedule, ``resumed_from``
    is the checkpoint. ``base`` is the identity of the base model, see
    :meth:`audit.backend.training.PlanningBackend.base_identity`; the key is absent if it is not known. ``known`` are
    the errors that were in the run before the first step of the batch, as (rule, file, step); absent if there are none.
    ``rows`` is the digest of the rows, see :class:`audit.data.rows.Rows`; absent if only the backend can read them.
    ``changes`` are the settings that were put into effect before the first step; absent if there are none.
    ``parts`` are the data files of a batch of several: ``batch`` is then the digest of theirs, ``rows`` is absent.
    ``replay`` are examples of earlier batches that are trained with it, counted in ``examples``. Both are absent if
    there are none. ``held_out`` is the digest of the file that is evaluated on, ``best`` the (step, value) of the best
    checkpoint as the leg begins; absent if nothing is evaluated, or nothing is best yet.
    """

    batch: str
    file: str
    bytes: int
    first_step: int
    last_step: int | None
    first_example: int
    examples: int | None
    examples_per_step: int | None
    epochs: int
    order: str | None
    seed: int
    horizon: int | None
    decay_steps: int | None
    processes: int
    resumed_from: str | None
    base: Mapping[str, str] | None = None
    known: Sequence[Known] | None = None
    rows: str | None = None
    changes: Mapping[str, float] | None = None
    parts: Sequence[Part] | None = None
    replay: Sequence[Drawn] | None = None
    held_out: str | None = None
    best: tuple[int, float] | None = None

    def row(self) -> Written:
        return batch_row(LEG, self._asdict(), absent=_ABSENT)

    @classmethod
    def read(cls, content: Content) -> "LegBegun | None":
        first = as_whole(content.get("first_step"))
        if first is None or not is_batch(content, LEG):
            return None
        return cls(
            content["batch"],
            as_file_name(content.get("file")),
            as_whole(content.get("bytes")) or 0,
            first,
            as_whole(content.get("last_step")),
            as_whole(content.get("first_example")) or 0,
            as_whole(content.get("examples")),
            as_whole(content.get("examples_per_step")) or None,
            as_whole(content.get("epochs")) or 1,
            as_text(content.get("order")),
            as_integer(content.get("seed")) or 0,
            as_whole(content.get("horizon")) or None,
            as_whole(content.get("decay_steps")) or None,
            as_whole(content.get("processes")) or 1,
            as_text(content.get("resumed_from")),
            as_texts(content.get("base")),
            _known(content.get("known")),
            as_text(content.get("rows")),
            as_numbers(content.get("changes")),
            as_parts(content.get("parts")) or None,
            as_drawn(content.get("replay")) or None,
            as_text(content.get("held_out")),
            next(iter(as_losses([content.get("best")])), None),
        )


class Finished(NamedTuple):
    """A batch, begun after ``first_step``, is trained and its last checkpoint proven; ``losses`` are (step, loss).

    ``base`` is as in :class:`LegBegun`, given if it was not known when the leg began.
    """

    batch: str
    file: str
    first_step: int
    last_step: int | None
    examples: int | None
    checkpoint: str
    losses: Sequence[tuple[int, float]]
    seconds: float
    base: Mapping[str, str] | None = None

    def row(self) -> Written:
        return batch_row(FINISHED, self._asdict(), absent=("base",))

    @classmethod
    def read(cls, content: Content) -> "Finished | None":
        if not is_batch(content, FINISHED):
            return None
        return cls(
            content["batch"],
            as_file_name(content.get("file")),
            as_whole(content.get("first_step")) or 0,
            as_whole(content.get("last_step")),
            as_whole(content.get("examples")),
            as_text(content.get("checkpoint")) or "",
            as_losses(content.get("losses")),
            as_number(content.get("seconds")) or 0.0,
            as_texts(content.get("base")),
        )


class Stopped(NamedTuple):
    """A ``signal`` ended the leg after ``step``; the data file is still there."""

    batch: str
    file: str
    step: int | None
    signal: int | None
    losses: Sequence[tuple[int, float]]

    def row(self) -> Written:
        return batch_row(STOPPED, self._asdict())

    @classmethod
    def read(cls, content: Content) -> "Stopped | None":
        if not is_batch(content, STOPPED):
            return None
        step, signal = as_whole(content.get("step")), as_integer(content.get("signal"))
        return cls(content["batch"], as_file_name(content.get("file")), step, signal, as_losses(content.get("losses")))


class Failed(NamedTuple):
    """The leg failed after ``step``; the data file is still there.

    ``kind``: see :class:`audit.backend.training.LegFailed`. ``first_step`` is that of the batch if it was trained to
    its end and not proven; the key is absent otherwise.
    """

    batch: str
    file: str
    step: int | None
    kind: str | None
    reason: str | None
    first_step: int | None = None

    def row(self) -> Written:
        return batch_row(FAILED, self._asdict(), absent=("first_step",))

    @classmethod
    def read(cls, content: Content) -> "Failed | None":
        if not is_batch(content, FAILED):
            return None
        step, kind, reason = as_whole(content.get("step")), as_text(content.get("kind")), as_text(content.get("reason"))
        first = as_whole(content.get("first_step"))
        return cls(content["batch"], as_file_name(content.get("file")), step, kind, reason, first)


class Retired(NamedTuple):
    """The data file of a finished batch was moved ``to`` this path, None if it was deleted."""

    batch: str
    file: str
    to: str | None

    def row(self) -> Written:
        return batch_row(RETIRED, self._asdict())

    @classmethod
    def read(cls, content: Content) -> "Retired | None":
        if not is_batch(content, RETIRED):
            return None
        return cls(content["batch"], as_file_name(content.get("file")), as_text(content.get("to")))


class Rejected(NamedTuple):
    """A data file is not trained because of ``reason``; the key ``to`` is absent if the file was gone."""

    batch: str
    file: str
    reason: str | None
    to: str | None = None

    def row(self) -> Written:
        return batch_row(REJECTED, self._asdict(), absent=("to",))

    @classmethod
    def read(cls, content: Content) -> "Rejected | None":
        if not is_batch(content, REJECTED):
            return None
        reason, to = as_text(content.get("reason")), as_text(content.get("to"))
        return cls(content["batch"], as_file_name(content.get("file")), reason, to)


class Duplicate(NamedTuple):
    """A data file has the bytes of a batch that was trained before, and was moved ``to`` this path."""

    batch: str
    file: str
    reason: str | None
    to: str | None = None

    def row(self) -> Written:
        return batch_row(DUPLICATE, self._asdict(), absent=("to",))

    @classmethod
    def read(cls, content: Content) -> "Duplicate | None":
        if not is_batch(content, DUPLICATE):
            return None
        reason, to = as_text(content.get("reason")), as_text(content.get("to"))
        return cls(content["batch"], as_file_name(content.get("file")), reason, to)


class Lost(NamedTuple):
    """The run went back to ``step``, and the batch is given up because its data file is gone (``--skip-lost``)."""

    batch: str
    file: str
    step: int | None

    def row(self) -> Written:
        return batch_row(LOST, self._asdict())

    @classmethod
    def read(cls, content: Content) -> "Lost | None":
        if not is_batch(content, LOST):
            return None
        return cls(content["batch"], as_file_name(content.get("file")), as_whole(content.get("step")))


class Dissolved(NamedTuple):
    """Before its first step was trained, one of the files of a batch was refused or removed: there is no such batch.

    The other files are trained anew.
    """

    batch: str
    file: str

    def row(self) -> Written:
        return batch_row(DISSOLVED, self._asdict())

    @classmethod
    def read(cls, content: Content) -> "Dissolved | None":
        if not is_batch(content, DISSOLVED):
            return None
        return cls(content["batch"], as_file_name(content.get("file")))


class Adopted(NamedTuple):
    """A person said to continue (``--adopt``) although the steps up to ``step`` are of no batch (0: all are of one).

    With a ``batch``, the digest of a file in ``done``: that file is of no batch and counts as trained. Else both texts
    are empty.
    """

    batch: str
    file: str
    step: int

    def row(self) -> Written:
        return batch_row(ADOPTED, self._asdict())

    @classmethod
    def read(cls, content: Content) -> "Adopted | None":
        if not is_batch(content, ADOPTED):
            return None
        return cls(content["batch"], as_file_name(content.get("file")), as_whole(content.get("step")) or 0)


class Changed(NamedTuple):
    """A person changed ``settings`` (``--change``): batches that begin at ``step`` or later are trained with them."""

    step: int
    settings: Mapping[str, float]

    @property
    def batch(self) -> str:
        """It is of no single batch."""
        return ""

    def row(self) -> Written:
        return batch_row(CHANGED, self._asdict())

    @classmethod
    def read(cls, content: Content) -> "Changed | None":
        step, settings = as_whole(content.get("step")), as_numbers(content.get("settings"))
        return None if step is None or not settings else cls(step, settings)


BatchEvent = (
    LegBegun
    | Finished
    | Stopped
    | Failed
    | Retired
    | Rejected
    | Duplicate
    | Lost
    | Adopted
    | Changed
    | Dissolved
    | GoingBack
    | WentBack
    | Dropped
)

_READERS: Mapping[Any, Callable[[Content], BatchEvent | None]] = {
    LEG: LegBegun.read,
    FINISHED: Finished.read,
    STOPPED: Stopped.read,
    FAILED: Failed.read,
    RETIRED: Retired.read,
    REJECTED: Rejected.read,
    DUPLICATE: Duplicate.read,
    LOST: Lost.read,
    ADOPTED: Adopted.read,
    CHANGED: Changed.read,
    BACK: GoingBack.read,
    WENT_BACK: WentBack.read,
    DROPPED: Dropped.read,
    DISSOLVED: Dissolved.read,
}


def batch_event_of(content: Content) -> BatchEvent | None:
    """Return what a row of this kind records, None for one of another shape, perhaps of a newer version."""
    event = content.get("event")
    read = _READERS.get(event) if isinstance(event, str) else None
    return read(content) if read is not None else None


def _known(value: Any) -> tuple[Known, ...] | None:
    if not isinstance(value, list):
        return None
    found = [item for item in value if isinstance(item, list) and len(item) == 3 and isinstance(item[0], str)]
    return tuple((item[0], as_text(item[1]), as_whole(item[2])) for item in found)
