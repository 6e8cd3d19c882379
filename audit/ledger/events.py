"""What the ledger records: one type for each kind of row, which alone writes and reads it.

``row()`` returns the kind and the JSON content. ``read(content)`` returns the value, None for content of another shape:
the ledger is untrusted, so a row may contain any JSON. A row is passed over only if it lacks what its kind requires;
any other unreadable value becomes None, 0 or empty.

Those of the batches of ``audit train`` are in :mod:`audit.ledger.batch_events`, those of pushed checkpoints in
:mod:`audit.ledger.push_events`; both are imported where a row is one of them, which most ledgers have none of. Import
the module where a name is taken: :mod:`audit.retention.prune` has a ``Pruned`` of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.ledger.batch_row import BATCH
from audit.ledger.json_values import Content, Written, as_integer, as_step, as_text, as_whole

if TYPE_CHECKING:
    from audit.ledger.batch_events import BatchEvent
    from audit.ledger.push_events import PushEvent

ALGORITHM = "blake3"
_HEX = frozenset("0123456789abcdef")


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
    """A checkpoint was removed on purpose; ``bytes`` is the size of its files.

    ``left``: if it was the newest, the step of the newest complete one that stays, 0 if none does; else None.
    ``elsewhere``: the repository of a copy that was proven right before, as ``audit hub pull`` takes it; may be empty.
    """

    checkpoint: str
    step: int
    bytes: int
    left: int | None = None
    elsewhere: str = ""

    def row(self) -> Written:
        content: dict[str, Any] = {"checkpoint": self.checkpoint, "pruned": self.step, "bytes": self.bytes}
        if self.left is not None:
            content["left"] = self.left
        if self.elsewhere:
            content["elsewhere"] = self.elsewhere
        return "pruned", content

    @classmethod
    def read(cls, content: Content) -> "Pruned | None":
        step = as_integer(content.get("pruned"))
        if step is None:
            return None
        name, bytes = as_text(content.get("checkpoint")) or "", as_integer(content.get("bytes")) or 0
        return cls(name, step, bytes, as_step(content.get("left")), as_text(content.get("elsewhere")) or "")


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


class Rehearsed(NamedTuple):
    """A sealed checkpoint was restored, compared with its files, and ``steps`` steps after it were trained again.

    ``same``: nothing differed; ``exact``: equal was asked for, not within tolerances; ``text``: what differed first.
    ``seal`` is :func:`audit.ledger.seals.seal_digest` of its seal: of other files it says nothing.
    """

    checkpoint: str
    step: int
    steps: int
    same: bool
    exact: bool
    seal: str
    text: str = ""

    def row(self) -> Written:
        return "rehearsed", self._asdict()

    @classmethod
    def read(cls, content: Content) -> "Rehearsed | None":
        name, seal = as_text(content.get("checkpoint")), as_text(content.get("seal"))
        if name is None or seal is None:
            return None
        step, steps = as_step(content.get("step")) or 0, as_whole(content.get("steps")) or 0
        same, exact = content.get("same") is True, content.get("exact") is True
        return cls(name, step, steps, same, exact, seal, as_text(content.get("text")) or "")


class BaseSealed(NamedTuple):
    """The files of weights of the base model that this run's adapter belongs to, by name; a newer row replaces it."""

    files: Mapping[str, SealedFile]

    def row(self) -> Written:
        return "base", {"algorithm": ALGORITHM, "files": dict(sorted(self.files.items()))}

    @classmethod
    def read(cls, content: Content) -> "BaseSealed | None":
        files = _sealed(content.get("files"))
        return cls(files) if files else None


class Merged(NamedTuple):
    """`audit merge` merged the adapter of a checkpoint into its base; ``files`` are those of the model in ``out``."""

    checkpoint: str
    step: int
    out: str
    files: Mapping[str, SealedFile]

    def row(self) -> Written:
        return "merged", {**self._asdict(), "algorithm": ALGORITHM, "files": dict(sorted(self.files.items()))}

    @classmethod
    def read(cls, content: Content) -> "Merged | None":
        name, step = as_text(content.get("checkpoint")), as_integer(content.get("step"))
        files = _sealed(content.get("files"))
        if name is None or step is None or files is None:
            return None
        return cls(name, step, as_text(content.get("out")) or "", files)


RunEvent = (
    Observation
    | Start
    | SealTaken
    | ScansRemembered
    | GuardDecision
    | Quarantined
    | Pruned
    | SnapshotTaken
    | Accepted
    | BaseSealed
    | Merged
    | Rehearsed
)
"""What any command records of a run."""

if TYPE_CHECKING:
    Event = RunEvent | PushEvent | BatchEvent
    """What a row may record."""

_READERS: Mapping[str, Callable[[Content], RunEvent | None]] = {
    "observation": Observation.read,
    "start": Start.read,
    "seal": SealTaken.read,
    "scans": ScansRemembered.read,
    "guard": GuardDecision.read,
    "quarantine": Quarantined.read,
    "pruned": Pruned.read,
    "snapshot": SnapshotTaken.read,
    "accepted": Accepted.read,
    "base": BaseSealed.read,
    "merged": Merged.read,
    "rehearsed": Rehearsed.read,
}


def event_of(kind: str, content: Content) -> "Event | None":
    """Return what a row records, None for a row of another shape, perhaps of a newer version."""
    if kind == BATCH:
        from audit.ledger.batch_events import batch_event_of

        return batch_event_of(content)
    if kind.startswith("push"):
        from audit.ledger.push_events import push_event_of

        return push_event_of(kind, content)
    read = _READERS.get(kind)
    return read(content) if read is not None else None


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
