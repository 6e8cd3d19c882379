"""Data files: what is in the inbox, in ``done`` and ``rejected``, each known by the digest of its bytes."""

import fnmatch
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from audit.errors import AuditError
from audit.ledger.back_events import DROPPED
from audit.ledger.batch_events import RETIRED
from audit.ledger.batches import Batch
from audit.training.config import Data

UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".swp", "~")
"""Suffixes of names under which programs write incomplete files."""


class InboxGone(AuditError):
    """The inbox does not exist: it was never made, or its disk is not mounted."""


class DataFile(NamedTuple):
    """One file: ``stamp`` is (size, mtime_ns, inode); it changes with the file."""

    path: str
    name: str
    stamp: tuple[int, int, int]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stamp[0]


class Ignored(NamedTuple):
    """A name in the inbox that is never trained, and why."""

    name: str
    reason: str


def waiting(data: Data) -> tuple[DataFile, ...]:
    """Return the files of the inbox by name. Raises InboxGone, AuditError if it cannot be listed."""
    return tuple(sorted(_files(data.inbox, data.patterns, True), key=lambda file: file.name))


def trained(data: Data) -> tuple[DataFile, ...]:
    """Return the files in ``done``."""
    return tuple(sorted(_files(data.done, ("*",), False), key=lambda file: file.name))


def rejected(data: Data) -> tuple[DataFile, ...]:
    """Return the files that were set aside."""
    return tuple(sorted(_files(data.rejected, ("*",), False), key=lambda file: file.name))


def ignored(data: Data, settle_seconds: float = 0.0) -> tuple[Ignored, ...]:
    """Return what is in the inbox and never trained, by name; empty if there is no inbox.

    Hidden files are left out, and names of incomplete files that were changed within ``settle_seconds``: both are how
    programs put a file here.
    """
    try:
        entries = sorted(os.scandir(data.inbox), key=lambda entry: entry.name)
    except OSError:
        return ()
    found = ((entry, _why_ignored(entry, data.patterns)) for entry in entries if not entry.name.startswith("."))
    return tuple(
        Ignored(entry.name, reason)
        for entry, reason in found
        if reason and not (entry.name.endswith(UNFINISHED) and _is_young(entry, settle_seconds))
    )


def _why_ignored(entry: "os.DirEntry[str]", patterns: tuple[str, ...]) -> str | None:
    """Return why an entry of the inbox is not trained, None if it is."""
    name = entry.name
    if name.startswith((".", "_")):
        return f"names that begin with {name[0]} are skipped"
    if name.endswith(UNFINISHED):
        return "the name is that of an incomplete file; rename it once it is whole"
    try:
        mode = entry.stat().st_mode
    except OSError:
        return "it is a link that leads nowhere" if entry.is_symlink() else "it cannot be read"
    if stat.S_ISDIR(mode):
        return "it is a directory; put the files themselves into the inbox"
    if not stat.S_ISREG(mode):
        return "it is neither a file nor a directory"
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
        return None
    if any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in patterns):
        return f"capitals count in data.pattern; rename it to {name.lower()}"
    return f"it does not match data.pattern ({', '.join(patterns)})"


def _is_young(entry: "os.DirEntry[str]", seconds: float) -> bool:
    try:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime < seconds
    except OSError:
        return True


class DataFiles:
    """The files of the inbox, of ``done`` and ``rejected``; each is read once for its digest, until it changes."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._digests: dict[tuple[str, tuple[int, int, int]], str] = {}

    def waiting(self) -> tuple[DataFile, ...]:
        """Return the files of the inbox by name."""
        return waiting(self._data)

    def find(self, batch: Batch, inbox: bool = False) -> DataFile | None:
        """Return the file of a batch: by its digest, the one of the same name first.

        The file of a batch that was trained before may be in ``rejected``: a copy of it was dropped again.
        """
        places = tuple(file for file in self.waiting() if not os.path.islink(file.path))
        if not inbox:
            places += trained(self._data)
            if batch.state in (RETIRED, DROPPED) or batch.legs > 1:
                places += rejected(self._data)
        for file in sorted(places, key=lambda item: item.name != batch.file):
            if self.digest(file) == batch.digest:
                return file
        return None

    def copies(self, digest: str) -> tuple[DataFile, ...]:
        """Return every file of these bytes in the inbox and in ``done``, whatever its name."""
        places = (*(file for file in self.waiting() if not os.path.islink(file.path)), *trained(self._data))
        return tuple(file for file in places if self.digest(file) == digest)

    def rejected_copies(self, digest: str) -> tuple[DataFile, ...]:
        """Return every file of these bytes that was set aside."""
        return tuple(file for file in rejected(self._data) if self.digest(file) == digest)

    def digest(self, file: DataFile) -> str:
        """Return the BLAKE3 digest of a file; empty if it is being written."""
        key = (file.path, file.stamp)
        if key not in self._digests:
            digest = digest_of(file)
            if not unchanged(file):
                return ""  # being written: it matches nothing
            self._digests[key] = digest
        return self._digests[key]


def _files(home: str, patterns: tuple[str, ...], must: bool) -> Iterator[DataFile]:
    try:
        entries = list(os.scandir(home))
    except FileNotFoundError as error:
        if must:
            raise InboxGone(f"data.inbox: {home} does not exist; make the directory, or correct the path") from error
        return
    except OSError as error:
        raise AuditError(f"{home}: cannot be listed: {error.strerror or error}") from error
    for entry in entries:
        if _why_ignored(entry, patterns) is not None:
            continue
        with suppress(OSError):  # deleted meanwhile
            info = entry.stat()
            yield DataFile(entry.path, entry.name, (info.st_size, info.st_mtime_ns, info.st_ino))


def seen(path: str, name: str) -> DataFile | None:
    """Return the file at ``path``, None if there is none."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return DataFile(path, name, (info.st_size, info.st_mtime_ns, info.st_ino))


def split_name(name: str) -> tuple[str, str]:
    """Return a name without and its ending: that of what is compressed, too (``.jsonl.gz``)."""
    stem, ending = os.path.splitext(name)
    if ending.lower() in (".gz", ".zst"):
        stem, inner = os.path.splitext(stem)
        ending = inner + ending
    return stem, ending


def unchanged(file: DataFile) -> bool:
    """Whether the file is still the same."""
    return seen(file.path, file.name) == file


def digest_of(file: DataFile) -> str:
    """Return the BLAKE3 digest of the file's bytes. Raises AuditError if it cannot be read."""
    from blake3 import blake3

    hasher = blake3()
    try:
        with open(file.path, "rb") as stream:
            while block := stream.read(1 << 20):
                hasher.update(block)
    except OSError as error:
        raise AuditError(f"{file.path}: cannot be read: {error.strerror or error}") from error
    return hasher.hexdigest()
