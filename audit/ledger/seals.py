"""Seals: the digests of every file of a checkpoint, taken when it was proven."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from audit.ledger.events import SealedFile, SealTaken
from audit.ledger.ways_back import begins_at
from audit.text import is_utc_time

if TYPE_CHECKING:
    from audit.ledger.store import Row


class Seal(NamedTuple):
    """The files of one checkpoint by path relative to it, as they were at ``time`` (UTC, ISO 8601).

    ``newest`` is the youngest mtime among them in nanoseconds, by the clock of the file system. ``passed``: a leg of
    `audit train` has begun before this step since, so the step may have been saved again.
    """

    checkpoint: str
    step: int
    time: str
    newest: int
    files: Mapping[str, SealedFile]
    passed: bool


def seals_of(rows: "Iterable[Row]") -> dict[str, Seal]:
    """Return the newest seal of every checkpoint, unless a newer row revoked it."""
    found: dict[str, Seal | None] = {}
    first = None  # the lowest step at which a leg began later on
    for row in reversed(tuple(rows)):
        event = row.event
        begun = begins_at(row)
        if begun is not None:
            first = begun if first is None else min(first, begun)
        elif isinstance(event, SealTaken) and event.checkpoint not in found:
            found[event.checkpoint] = _seal(event, row.time, first)
    return {name: seal for name, seal in reversed(found.items()) if seal is not None}


def _seal(event: SealTaken, time: str, begun: int | None) -> Seal | None:
    if event.files is None or not is_utc_time(time):
        return None
    passed = begun is not None and begun < event.step
    return Seal(event.checkpoint, event.step, time, event.newest, event.files, passed)


def seal_digest(seal: Seal) -> str:
    """Return a digest of the files of a seal: the same for the same bytes under the same names."""
    from blake3 import blake3

    text = "".join(checksum_line(file.digest, path) for path, file in sorted(seal.files.items()))
    return blake3(text.encode("utf-8", "surrogateescape")).hexdigest()


def checksum_line(digest: str, path: str) -> str:
    """Return one line that ``b3sum --check`` or ``sha256sum --check`` reads; odd names are escaped as they do."""
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{chr(92) if escaped != path else ''}{digest}  {escaped}\n"
