"""Data files: what is in the inbox, in ``done`` and ``rejected``, each known by the digest of its bytes."""

import fnmatch
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from audit.errors import AuditError
from audit.ledger.events import RETIRED
from audit.ledger.timeline import Batch
from audit.training.config import Data

UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".swp", "~")
"""Ends of names under which programs write what is not whole yet."""


class InboxGone(AuditError):
    """The inbox is not there: never made, or its disk is not mounted just now."""


class DataFile(NamedTuple):
    """One file: ``stamp`` is (size, mtime_ns, inode), by which it is seen whether it changed."""

    path: str
    name: str
    stamp: tuple[int, int, int]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stamp[0]


def waiting(data: Data) -> tuple[DataFile, ...]:
    """Return the files of the inbox in the order of their names. Raises InboxGone, AuditError where it cannot be listed."""
    return tuple(sorted(_files(data.inbox, data.patterns, True), key=lambda file: file.name))


def trained(data: Data) -> tuple[DataFile, ...]:
    """Return the files that lie in ``done``."""
    return tuple(sorted(_files(data.done, ("*",), False), key=lambda file: file.name))


def rejected(data: Data) -> tuple[DataFile, ...]:
    """Return the files that were set aside."""
    return tuple(sorted(_files(data.rejected, ("*",), False), key=lambda file: file.name))


class DataFiles:
    """The files of the inbox, of ``done`` and ``rejected``; each is read once for its digest, as long as it stays as it is."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._digests: dict[tuple[str, tuple[int, int, int]], str] = {}

    def waiting(self) -> tuple[DataFile, ...]:
        """Return the files of the inbox in the order of their names."""
        return waiting(self._data)

    def find(self, batch: Batch, inbox: bool = False) -> DataFile | None:
        """Return the file of a batch: by its digest, the one of the same name first.

        A batch that was trained before may lie among those that were set aside: a copy of it was dropped again.
        """
        places = self.waiting()
        if not inbox:
            places += trained(self._data)
            if batch.state == RETIRED or batch.legs > 1:
                places += rejected(self._data)
        for file in sorted(places, key=lambda item: item.name != batch.file):
            if self.digest(file) == batch.digest:
                return file
        return None

    def digest(self, file: DataFile) -> str:
        """Return the BLAKE3 digest of a file; empty where it is being written."""
        key = (file.path, file.stamp)
        if key not in self._digests:
            digest = digest_of(file)
            if not unchanged(file):
                return ""  # being written: it fits nothing
            self._digests[key] = digest
        return self._digests[key]


def _files(home: str, patterns: tuple[str, ...], must: bool) -> Iterator[DataFile]:
    try:
        entries = list(os.scandir(home))
    except FileNotFoundError as error:
        if must:
            raise InboxGone(f"data.inbox: {home} is not there; make the directory, or correct the path") from error
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
            continue  # gone meanwhile, or a link that leads nowhere
        if stat.S_ISREG(info.st_mode):
            yield DataFile(entry.path, entry.name, (info.st_size, info.st_mtime_ns, info.st_ino))


def seen(path: str, name: str) -> DataFile | None:
    """Return the file that lies there now, None where there is none."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return DataFile(path, name, (info.st_size, info.st_mtime_ns, info.st_ino))


def unchanged(file: DataFile) -> bool:
    """Whether the file is still the one that was looked at."""
    return seen(file.path, file.name) == file


def digest_of(file: DataFile) -> str:
    """Return the BLAKE3 digest of the file's bytes. Raises AuditError where it cannot be read."""
    from blake3 import blake3

    hasher = blake3()
    try:
        with open(file.path, "rb") as stream:
            while block := stream.read(1 << 20):
                hasher.update(block)
    except OSError as error:
        raise AuditError(f"{file.path}: cannot be read: {error.strerror or error}") from error
    return hasher.hexdigest()
