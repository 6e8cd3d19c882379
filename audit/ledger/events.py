"""What the ledger records: one type for each kind of row, which alone writes and reads it.

``row()`` returns the kind and the JSON content. ``read(content)`` returns the value, None for content of another shape:
the ledger is untrusted, so a row may contain any JSON. A row is passed over only if it lacks what its kind requires;
any other unreadable value becomes None, 0 or empty.

Rows of kind "batch" have an ``event``; :mod:`audit.ledger.timeline` replays them. Import the module where a name is
taken: :mod:`audit.retention.prune` has a ``Pruned`` of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from audit.ledger.json_values import (
    as_file_name,
    as_integer,
    as_losses,
    as_number,
    as_step,
    as_text,
    as_texts,
    as_whole,
)

Content = Mapping[str, Any]
Known = tuple[str, str | None, int | None]
"""A finding of an earlier verification: rule, file, place in the log."""

Written = tuple[str, dict[str, Any]]
"""The kind of a row, and its content."""

ALGORITHM = "blake3"
_HEX = frozenset("0123456789abcdef")
LEG, FINISHED, STOPPED, FAILED = "leg", "finished", "stopped", "failed"
RETIRED, REJECTED, DUPLICATE, LOST = "retired", "rejected", "duplicate", "lost"
ADOPTED = "adopted"


class Observation(NamedTuple):
    """A verification: the newest complete ``step``, None if there is none, and the names of all checkpoints."""

    step: int | None
    verdict: str
    depth: str
    errors: int
    warnings: int
    checkpoints: Sequence[str]

    def row(self) -> Written:
        return "observation", self._asdict()

    @classmethod
    def read(cls, content: Content) -> "Observation | None":
        names = content.get("checkpoints")
        return cls(
            as_step(content.get("step")),
            as_text(content.get("verdict")) or "",
            as_text(content.get("depth")) or "",
            as_integer(content.get("errors")) or 0,
            as_integer(content.get("warnings")) or 0,
            tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else (),
        )


class Start(NamedTuple):
    """A training begins at ``step``: later steps are given up deliberately."""

    step: int

    def row(self) -> Written:
        return "start", self._asdict()

    @classmethod
    def read(cls, content: Content) -> "Start | None":
        step = as_step(content.get("step"))
        return None if step is None else cls(step)


class SealedFile(NamedTuple):
    """Size in bytes and BLAKE3 digest (hexadecimal, as ``b3sum`` prints it) of one file."""

    size: int
    digest: str


class SealTaken(NamedTuple):
    """The files of a proven checkpoint by relative path; ``newest`` is the youngest mtime among them in nanoseconds.

    ``files`` None revokes the seal; so does a row that names a checkpoint and is otherwise unreadable.
    """

    checkpoint: str
    step: int
    newest: int
    files: Mapping[str, SealedFile] | None

    def row(self) -> Written:
        files = dict(sorted(self.files.items())) if self.files is not None else None
        return "seal", {**self._asdict(), "algorithm": ALGORITHM, "files": files}

    @classmethod
    def read(cls, content: Content) -> "SealTaken | None":
        name = content.get("checkpoint")
        if not isinstance(name, str):
            return None
        step, newest = as_integer(content.get("step")), as_integer(content.get("newest"))
        files = _sealed(content.get("files"))
        if step is None or newest is None or files is None:
            return cls(name, 0, 0, None)
        return cls(name, step, newest, files)


class ScansRemembered(NamedTuple):
    """The ``digest`` of a checkpoint's remembered scans; see :func:`audit.ledger.store.scans_digest`.

    ``read_at``: when all of its files had been read, UTC in ISO 8601; None in rows of older versions, which have only
    the row's own time.
    """

    checkpoint: str
    digest: str
    read_at: str | None = None

    def row(self) -> Written:
        content = {"checkpoint": self.checkpoint, "digest": self.digest}
        return "scans", content if self.read_at is None else {**content, "read": self.read_at}

    @classmethod
    def read(cls, content: Content) -> "ScansRemembered | None":
        name = content.get("checkpoint")
        if not isinstance(name, str):
            return None
        return cls(name, as_text(content.get("digest")) or "", as_text(content.get("read")))


class GuardDecision(NamedTuple):
    """What the guard handed out; ``fresh``: it allowed a fresh start, and ``checkpoint`` is None."""

    checkpoint: str | None
    step: int
    fresh: bool

    def row(self) -> Written:
        return "guard", self._asdict()

    @classmethod
    def read(cls, content: Content) -> "GuardDecision | None":
        step = as_step(content.get("step"))
        return None if step is None else cls(as_text(content.get("checkpoint")), step, content.get("fresh") is True)


class Quarantined(NamedTuple):
    """A checkpoint was "moved" to ``place``, "restored" from it, or could not be moved ("failed").

    ``step`` is that of the newest complete checkpoint then in the run; None leaves the known step unchanged.
    """

    action: str
    checkpoint: str
    place: str
    reason: str
    step: int | None

    def row(self) -> Written:
        return "quarantine", self._asdict()

    @classmethod
    def read(cls, content: Content) -> "Quarantined | None":
        action, name, place, reason = (
            as_text(content.get(key)) or "" for key in ("action", "checkpoint", "place", "reason")
        )
        return cls(action, name, place, reason, as_step(content.get("step")))


class Pruned(NamedTuple):
    """``audit prune`` removed a checkpoint; ``bytes`` is the size of its files."""

    checkpoint: str
    step: int
    bytes: int

    def row(self) -> Written:
        return "pruned", {"checkpoint": self.checkpoint, "pruned": self.step, "bytes": self.bytes}

    @classmethod
    def read(cls, content: Content) -> "Pruned | None":
        step = as_integer(content.get("pruned"))
        if step is None:
            return None
        return cls(as_text(content.get("checkpoint")) or "", step, as_integer(content.get("bytes")) or 0)


class SnapshotTaken(NamedTuple):
    """This run is a copy of one checkpoint of ``source``, made by "link", "reflink" or "copy", "" if it was there."""

    checkpoint: str
    source: str
    how: str

    def row(self) -> Written:
        return "snapshot", {"checkpoint": self.checkpoint, "from": self.source, "how": self.how}

    @classmethod
    def read(cls, content: Content) -> "SnapshotTaken | None":
        name, source, how = (as_text(content.get(key)) or "" for key in ("checkpoint", "from", "how"))
        return cls(name, source, how)


class Accepted(NamedTuple):
    """A person has accepted the findings of ``rule`` for a ``reason``; see :mod:`audit.judging.acceptance`.

    ``step`` is their place in the log, None if they have none; ``checkpoint`` the one at which they were accepted.
    ``until`` is the last day (2026-11-21) on which it counts, None: for ever.
    """

    rule: str
    checkpoint: str | None
    step: int | None
    reason: str
    until: str | None = None

    def row(self) -> Written:
        return "accepted", self._asdict()

    @classmethod
    def read(cls, content: Content) -> "Accepted | None":
        rule = as_text(content.get("rule"))
        if rule is None:
            return None
        step, until = as_whole(content.get("step")), as_text(content.get("until"))
        return cls(rule, as_text(content.get("checkpoint")), step, as_text(content.get("reason")) or "", until)


# -- batches of audit train ---------------------------------------------------------------------------------------


class LegBegun(NamedTuple):
    """A leg begins. ``batch`` is the digest of the data file, ``file`` its name, ``bytes`` its size.

    ``last_step`` is the planned end, None if the backend decides; ``examples`` is rows x epochs, None if they are not
    counted. ``order`` is that of the rows, ``horizon`` and ``decay_steps`` are those of the schedule, ``resumed_from``
    is the checkpoint. ``base`` is the identity of the base model, see
    :meth:`audit.backend.training.PlanningBackend.base_identity`; the key is absent if it is not known. ``known`` are
    the errors that were in the run before the first step of the batch, as (rule, file, step); absent if there are none.
    ``rows`` is the digest of the rows, see :class:`audit.data.rows.Rows`; absent if only the backend can read them.
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

    def row(self) -> Written:
        return _batch_row(LEG, self._asdict(), absent=("base", "known", "rows"))

    @classmethod
    def read(cls, content: Content) -> "LegBegun | None":
        first = as_whole(content.get("first_step"))
        if first is None or not _is_batch(content, LEG):
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
        return _batch_row(FINISHED, self._asdict(), absent=("base",))

    @classmethod
    def read(cls, content: Content) -> "Finished | None":
        if not _is_batch(content, FINISHED):
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
        return _batch_row(STOPPED, self._asdict())

    @classmethod
    def read(cls, content: Content) -> "Stopped | None":
        if not _is_batch(content, STOPPED):
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
        return _batch_row(FAILED, self._asdict(), absent=("first_step",))

    @classmethod
    def read(cls, content: Content) -> "Failed | None":
        if not _is_batch(content, FAILED):
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
        return _batch_row(RETIRED, self._asdict())

    @classmethod
    def read(cls, content: Content) -> "Retired | None":
        if not _is_batch(content, RETIRED):
            return None
        return cls(content["batch"], as_file_name(content.get("file")), as_text(content.get("to")))


class Rejected(NamedTuple):
    """A data file is not trained because of ``reason``; the key ``to`` is absent if the file was gone."""

    batch: str
    file: str
    reason: str | None
    to: str | None = None

    def row(self) -> Written:
        return _batch_row(REJECTED, self._asdict(), absent=("to",))

    @classmethod
    def read(cls, content: Content) -> "Rejected | None":
        if not _is_batch(content, REJECTED):
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
        return _batch_row(DUPLICATE, self._asdict(), absent=("to",))

    @classmethod
    def read(cls, content: Content) -> "Duplicate | None":
        if not _is_batch(content, DUPLICATE):
            return None
        reason, to = as_text(content.get("reason")), as_text(content.get("to"))
        return cls(content["batch"], as_file_name(content.get("file")), reason, to)


class Lost(NamedTuple):
    """The run went back to ``step``, and the batch is given up because its data file is gone (``--skip-lost``)."""

    batch: str
    file: str
    step: int | None

    def row(self) -> Written:
        return _batch_row(LOST, self._asdict())

    @classmethod
    def read(cls, content: Content) -> "Lost | None":
        if not _is_batch(content, LOST):
            return None
        return cls(content["batch"], as_file_name(content.get("file")), as_whole(content.get("step")))


class Adopted(NamedTuple):
    """A person said to continue (``--adopt``) although the steps up to ``step`` are of no batch (0: all are of one).

    With a ``batch``, the digest of a file in ``done``: that file is of no batch and counts as trained. Else both texts
    are empty.
    """

    batch: str
    file: str
    step: int

    def row(self) -> Written:
        return _batch_row(ADOPTED, self._asdict())

    @classmethod
    def read(cls, content: Content) -> "Adopted | None":
        if not _is_batch(content, ADOPTED):
            return None
        return cls(content["batch"], as_file_name(content.get("file")), as_whole(content.get("step")) or 0)


BatchEvent = LegBegun | Finished | Stopped | Failed | Retired | Rejected | Duplicate | Lost | Adopted
Event = (
    Observation
    | Start
    | SealTaken
    | ScansRemembered
    | GuardDecision
    | Quarantined
    | Pruned
    | SnapshotTaken
    | Accepted
    | BatchEvent
)

_BATCH: Mapping[Any, Callable[[Content], Event | None]] = {
    LEG: LegBegun.read,
    FINISHED: Finished.read,
    STOPPED: Stopped.read,
    FAILED: Failed.read,
    RETIRED: Retired.read,
    REJECTED: Rejected.read,
    DUPLICATE: Duplicate.read,
    LOST: Lost.read,
    ADOPTED: Adopted.read,
}
_OTHERS: Mapping[str, Callable[[Content], Event | None]] = {
    "observation": Observation.read,
    "start": Start.read,
    "seal": SealTaken.read,
    "scans": ScansRemembered.read,
    "guard": GuardDecision.read,
    "quarantine": Quarantined.read,
    "pruned": Pruned.read,
    "snapshot": SnapshotTaken.read,
    "accepted": Accepted.read,
}


def event_of(kind: str, content: Content) -> Event | None:
    """Return what a row records, None for a row of another shape, perhaps of a newer version."""
    if kind != "batch":
        read = _OTHERS.get(kind)
    else:
        event = content.get("event")
        read = _BATCH.get(event) if isinstance(event, str) else None
    return read(content) if read is not None else None


def _batch_row(event: str, content: dict[str, Any], absent: tuple[str, ...] = ()) -> Written:
    """``absent`` are keys to leave out instead of writing null."""
    for key in absent:
        if content[key] is None:
            del content[key]
    return "batch", {"event": event, **content}


def _is_batch(content: Content, event: str) -> bool:
    return content.get("event") == event and isinstance(content.get("batch"), str)


def _known(value: Any) -> tuple[Known, ...] | None:
    if not isinstance(value, list):
        return None
    found = [item for item in value if isinstance(item, list) and len(item) == 3 and isinstance(item[0], str)]
    return tuple((item[0], as_text(item[1]), as_whole(item[2])) for item in found)


def _sealed(value: Any) -> dict[str, SealedFile] | None:
    if not isinstance(value, dict):
        return None
    found = {}
    for path, entry in value.items():
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], int)):
            return None
        if not (isinstance(entry[1], str) and len(entry[1]) == 64 and _HEX.issuperset(entry[1])):
            return None
        found[path] = SealedFile(entry[0], entry[1])
    return found
