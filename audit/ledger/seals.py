"""Seals: the digests of every file of a checkpoint, taken when it was proven."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.scan import FileScan

if TYPE_CHECKING:
    from audit.ledger.store import Row

ALGORITHM = "blake3"
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_HEX = re.compile(r"[0-9a-f]{64}")


class SealedFile(NamedTuple):
    """Size in bytes and BLAKE3 digest (hexadecimal, as ``b3sum`` prints it) of one file."""

    size: int
    digest: str


class Seal(NamedTuple):
    """The files of one checkpoint by path relative to it, as they were at ``time`` (UTC, ISO 8601).

    ``newest`` is the youngest mtime among them in nanoseconds, by the clock of the file system. ``passed``: a leg of
    `audit train` began before this step since, so that it may have been saved anew.
    """

    checkpoint: str
    step: int
    time: str
    newest: int
    files: Mapping[str, SealedFile]
    passed: bool = False


def seals_of(rows: "Iterable[Row]") -> dict[str, Seal]:
    """Return the newest seal of every checkpoint; a row that says ``revoked`` takes one back."""
    found: dict[str, Seal | None] = {}
    first = None  # the lowest step at which a leg began later on
    for row in reversed(tuple(rows)):
        begun = row.content.get("first_step") if row.kind == "batch" and row.content.get("event") == "leg" else None
        if isinstance(begun, int):
            first = begun if first is None else min(first, begun)
        name = row.content.get("checkpoint")
        if row.kind != "seal" or not isinstance(name, str) or name in found:
            continue
        seal = _seal(name, row)
        passed = seal is not None and first is not None and first < seal.step
        found[name] = seal._replace(passed=True) if seal is not None and passed else seal
    return {name: seal for name, seal in reversed(found.items()) if seal is not None}


def _seal(name: str, row: "Row") -> Seal | None:
    files, step, newest = (row.content.get(key) for key in ("files", "step", "newest"))
    if not _TIME.fullmatch(row.time) or not isinstance(files, dict):
        return None
    if not isinstance(step, int) or not isinstance(newest, int):
        return None
    kept = {}
    for path, entry in files.items():
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], int)):
            return None
        if not (isinstance(entry[1], str) and _HEX.fullmatch(entry[1])):
            return None
        kept[path] = SealedFile(entry[0], entry[1])
    return Seal(name, step, row.time, newest, kept)


def content_of(checkpoint: str, step: int, newest: int, scans: Mapping[str, FileScan]) -> dict[str, Any]:
    """Return the content of a ledger row that seals a checkpoint; ``newest`` as in :class:`Seal`."""
    return {
        "algorithm": ALGORITHM,
        "checkpoint": checkpoint,
        "step": step,
        "newest": newest,
        "files": {path: [scan.size, scan.digest] for path, scan in sorted(scans.items())},
    }


def checksum_line(digest: str, path: str) -> str:
    """Return one line that ``b3sum --check`` or ``sha256sum --check`` reads; odd names are escaped as they do."""
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{chr(92) if escaped != path else ''}{digest}  {escaped}\n"
