"""The events of ``audit train``, one type each.

docs/train.md documents them as ``--log-format json`` prints them; :func:`as_json` makes their JSON and
:func:`from_json` reads it. A field with a default is left out while it is None, any other is null.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from audit.backend.training import Note, Phase, Step


class BatchStarted(NamedTuple):
    """A leg begins after ``first_step`` with example ``first_example`` (from 0); the batch began after step ``begun``.

    ``last_step`` and ``examples`` are None if they are not known, ``resumed_from`` for a fresh start.
    """

    file: str
    first_step: int
    last_step: int | None
    begun: int
    examples: int | None
    first_example: int
    resumed_from: str | None


class BatchFinished(NamedTuple):
    """A batch is trained; its ``checkpoint`` is proven, sealed and recorded.

    ``best``: the name of the best checkpoint of the run so far, None if none is recorded.
    """

    file: str
    first_step: int
    last_step: int
    examples: int | None
    first_loss: float | None
    last_loss: float | None
    checkpoint: str
    verdict: str
    best: str | None = None


class FileRetired(NamedTuple):
    """The data file of a finished batch was moved ``to`` this path; None: it was deleted."""

    file: str
    to: str | None


class FileRejected(NamedTuple):
    """A data file that cannot be trained was moved ``to`` this path."""

    file: str
    reason: str
    to: str


class FileDuplicate(NamedTuple):
    """A data file with bytes that were trained before was moved ``to`` this path."""

    file: str
    reason: str
    to: str


class FileDropped(NamedTuple):
    """The data file of a batch that is never to be trained again was moved ``to`` this path; None: it was gone."""

    file: str
    to: str | None


class RunTakenBack(NamedTuple):
    """The run is now taken back to ``checkpoint``, of ``step``; it had reached the step ``reached``.

    ``aside`` are the checkpoints that are moved to quarantine, ``again`` the files that are trained again, ``dropped``
    those that never are.
    """

    checkpoint: str
    step: int
    reached: int
    aside: list[str]
    again: list[str]
    dropped: list[str]


class BatchFailed(NamedTuple):
    """A leg failed; ``kind``: that of :class:`audit.backend.training.LegFailed`, "short", "changed", "not-proven"."""

    file: str
    step: int
    kind: str
    reason: str


class LegRetried(NamedTuple):
    """A leg that failed for a reason that may pass is tried again, the ``attempt``-th time of ``times``.

    It begins after ``seconds``, from the newest checkpoint: that of ``step``, or a later one.
    """

    file: str
    step: int
    kind: str
    attempt: int
    times: int
    seconds: float


class TrainingStopped(NamedTuple):
    """A signal ended the training. ``saved``: the checkpoint of ``step`` is proven; if not, ``reason`` says why."""

    step: int
    signal: int
    saved: bool
    reason: str | None


class CheckpointSkipped(NamedTuple):
    """A checkpoint that cannot be resumed from, in a run where none can."""

    checkpoint: str
    reason: str


class CheckpointQuarantined(NamedTuple):
    """A broken checkpoint was moved to ``.audit/quarantine/``, under the name ``to``."""

    checkpoint: str
    to: str
    reason: str


class CheckpointPutBack(NamedTuple):
    """A missing or broken checkpoint was put back from its pin."""

    checkpoint: str


class CheckpointTorn(NamedTuple):
    """An incomplete checkpoint of an interrupted call was removed."""

    checkpoint: str


class CheckpointRotated(NamedTuple):
    """A checkpoint beyond save_total_limit was removed; the trainer was killed before it did."""

    checkpoint: str


class SnapshotMade(NamedTuple):
    """The snapshot of the day is in ``path``."""

    path: str
    checkpoint: str


class DiskShort(NamedTuple):
    """The planned checkpoints do not fit on the volume of the run, and the configuration makes that a warning."""

    file: str
    reason: str


class DayTrained(NamedTuple):
    """What was trained to its end on a ``day`` (``2026-11-21``, where the program runs): so many ``batches``.

    ``examples`` is None if they are not counted; the losses are the first and the last one that were logged.
    """

    day: str
    batches: int
    examples: int | None
    first_step: int
    last_step: int
    first_loss: float | None
    last_loss: float | None


class WaitingForFiles(NamedTuple):
    """The daemon is idle until a file is in ``inbox``."""

    inbox: str


class NothingToTrain(NamedTuple):
    """The call ends because no file waits in ``inbox``, and it has trained none."""

    inbox: str


class FileIgnored(NamedTuple):
    """A ``file`` in the inbox is never trained; it stays where it is."""

    file: str
    reason: str


class TrainingRefused(NamedTuple):
    """The last event of a call that ends with exit code 1 before its end."""

    reason: str


class TrainingError(NamedTuple):
    """The last event of a call that ends with exit code 2."""

    reason: str


Event = (
    BatchStarted
    | Phase
    | Step
    | BatchFinished
    | FileRetired
    | FileRejected
    | FileDuplicate
    | FileDropped
    | RunTakenBack
    | BatchFailed
    | LegRetried
    | TrainingStopped
    | CheckpointSkipped
    | CheckpointQuarantined
    | CheckpointPutBack
    | CheckpointTorn
    | CheckpointRotated
    | SnapshotMade
    | DiskShort
    | DayTrained
    | WaitingForFiles
    | NothingToTrain
    | FileIgnored
    | Note
    | TrainingRefused
    | TrainingError
)
Emit = Callable[[Event], None]
"""Called with each event of a call of ``audit train``."""

NAMES: Mapping[type[Event], str] = {
    BatchStarted: "batch",
    Phase: "phase",
    Step: "step",
    BatchFinished: "finished",
    FileRetired: "retired",
    FileRejected: "rejected",
    FileDuplicate: "duplicate",
    FileDropped: "dropped",
    RunTakenBack: "back",
    BatchFailed: "failed",
    LegRetried: "retry",
    TrainingStopped: "stopped",
    CheckpointSkipped: "skipped",
    CheckpointQuarantined: "quarantined",
    CheckpointPutBack: "put-back",
    CheckpointTorn: "torn",
    CheckpointRotated: "rotated",
    SnapshotMade: "snapshot",
    DiskShort: "disk-short",
    DayTrained: "day",
    WaitingForFiles: "waiting",
    NothingToTrain: "nothing",
    FileIgnored: "ignored",
    Note: "note",
    TrainingRefused: "refused",
    TrainingError: "error",
}
"""What the JSON calls each event."""


def as_json(event: Event) -> dict[str, Any]:
    """Return an event as the JSON object of docs/train.md, without its time. Raises TypeError if it is no event."""
    name = NAMES.get(type(event))
    if name is None:
        raise TypeError(
            f"{type(event).__name__} is not an event of audit train; a backend reports a Step, a Phase or a Note"
        )
    fields = event._asdict()
    return {"event": name} | {
        key: value for key, value in fields.items() if value is not None or key not in event._field_defaults
    }


def from_json(document: Mapping[str, Any]) -> Event | None:
    """Return the event of a JSON object, None for any other; :func:`as_json` the other way round.

    A field with a default is left out if its value is of another type; an event without any other field is none.
    """
    name = document.get("event")
    if not isinstance(name, str) or name not in _KINDS:
        return None
    kind = _KINDS[name]
    fields: dict[str, Any] = {}
    for field, types in _types()[name].items():
        value = _finite_or_not(document.get(field)) if float in types else document.get(field)
        if field in document and _fits(value, types):
            fields[field] = value
        elif field not in kind._field_defaults:
            return None
    return kind(**fields)


_KINDS: Mapping[str, type[Event]] = {name: kind for kind, name in NAMES.items()}


@cache
def _types() -> Mapping[str, Mapping[str, tuple[type, ...]]]:
    """The types that each field of each event may have, by its name in JSON."""
    hints = {name: get_type_hints(kind) for name, kind in _KINDS.items()}
    return {name: {field: kinds_of(hint) for field, hint in fields.items()} for name, fields in hints.items()}


def kinds_of(hint: Any) -> tuple[type, ...]:
    """Return the types that a field with this annotation may have; what is in a list is not told."""
    return (list,) if get_origin(hint) is list else get_args(hint) or (hint,)


def _finite_or_not(value: Any) -> Any:
    """JSON has no numbers that are not finite: they are texts there."""
    return float(value) if value in ("nan", "inf", "-inf") else value


def _fits(value: Any, types: tuple[type, ...]) -> bool:
    """Whether a value is of one of these types; an integer must be one that a float can hold exactly."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (int in types or float in types) and abs(value) < 1 << 53
    return isinstance(value, tuple(kind for kind in types if kind is not int))
