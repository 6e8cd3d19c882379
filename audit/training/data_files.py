"""Data files: what is in the inbox, in ``done`` and ``rejected``, each known by the digest of its bytes."""

import fnmatch
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from audit.errors import AuditError
from audit.ledger.batch_events import RETIRED
from audit.ledger.timeline import Batch
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


def waiting(data: Data) -> tuple[DataFile, ...]:
    """Return the files of the inbox by name. Raises InboxGone, AuditError if it cannot be listed."""
    return tuple(sorted(_files(data.inbox, data.patterns, True), key=lambda file: file.name))


def trained(data: Data) -> tuple[DataFile, ...]:
    """Return the files in ``done``."""
    return tuple(sorted(_files(data.done, ("*",), False), key=lambda file: file.name))


def rejected(data: Data) -> tuple[DataFile, ...]:
    """Return the files that were set aside."""
    return tuple(sorted(_files(data.rejected, ("*",), False), key=lambda file: file.name))


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
            if batch.state == RETIRED or batch.legs > 1:
                places += rejected(self._data)
        for file in sorted(places, key=lambda item: item.name != batch.file):
            if self.digest(file) == batch.digest:
                return file
        return None

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
        if entry.name.startswith((".", "_")) or entry.name.endswith(UNFINISHED):
            continue
        if not any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in patterns):
            continue
        try:
            info = entry.stat()
        except OSError:
            continue  # deleted meanwhile, or a dangling link
        if stat.S_ISREG(info.st_mode):
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
