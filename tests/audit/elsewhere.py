"""A storage behind ``test://PATH`` that needs no library: a directory of this machine, as a bucket shows it."""

import hashlib
import os
from pathlib import Path

from audit.manager import Registry, load
from audit.plugin import UPLOAD, Entry, LocalStorage, Storage, hookimpl
from audit.storage import FILE, ContextReader


class Elsewhere:
    """What is below a directory, with versions in place of inodes, and no directory of its own on this machine."""

    root = None

    def __init__(self, url: str, times: str | None = UPLOAD) -> None:
        self.identity = url
        self.times = times
        self._inner = LocalStorage("/" + url.partition("://")[2])
        self.bytes_read = 0
        self.opened: list[str] = []

    def refresh(self) -> frozenset[str]:
        return frozenset()

    def list(self, path: str) -> list[Entry]:
        if not path and not os.path.isdir(self._inner.root):
            return []
        return [self._shown(entry) for entry in self._inner.list(path) if entry.name != ".audit"]

    def _shown(self, entry: Entry) -> Entry:
        times = entry.mtime_ns if self.times and entry.kind == FILE else 0
        version = None
        if entry.kind == FILE:
            content = Path(self._inner.root, entry.path).read_bytes()
            version = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return Entry(entry.path, entry.kind, entry.size, times, 0, 0, version=version)

    def open(self, path: str) -> ContextReader:
        self.opened.append(path)
        return self._inner.open(path)


class Plugin:
    """Brings the schemes ``test`` (times of the upload) and ``timeless`` (none)."""

    @hookimpl
    def audit_storages(self) -> dict[str, object]:
        def timeless(url: str) -> Storage:
            return Elsewhere(url, None)

        return {"test": Elsewhere, "timeless": timeless}


def registry() -> Registry:
    """The installed plugins and this one."""
    return load([Plugin()])
