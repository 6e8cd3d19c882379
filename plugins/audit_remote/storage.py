"""A run behind a URL: one flat listing, small files whole and at once, ranges of the large ones."""

import os
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from errno import EINVAL, EIO, EISDIR, ENOENT
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import quote

from audit.plugin import DIRECTORY, FILE, SPECIAL, AuditError, Entry
from audit_remote.readers import LargeFile, SmallFile
from audit_remote.source import ChangedError, Object, Source
from audit_remote.waiting import POOL

if TYPE_CHECKING:
    from audit.plugin import ContextReader

MOST_OBJECTS = 200_000
"""Objects below one run. They take 700 bytes of memory each; a bucket that was named by mistake has millions."""

MOST_DIRECTORIES = 100_000
"""Directories that the keys of these objects stand for: one key of a kilobyte can name five hundred."""

SMALL = 256 << 10
"""Bytes. A file of at most this size is fetched whole; of a larger one that holds states, as much of its ends."""

KEPT = 16 << 20
"""Bytes of small files and of ends of large ones that are kept for the next question."""

MOST_AHEAD = 128
"""Files that are fetched because one of them is asked for."""

HEADED = (".safetensors",)
"""Endings of files whose directory is at their beginning."""

BOTH_ENDS = (".pt", ".pth", ".bin", ".ckpt", ".distcp")
"""Endings of archives: torch writes the pickle first, the directory last."""

Span = tuple[int, int]
"""Where a part of a file begins and ends, in bytes."""


class RemoteStorage:
    """A run behind ``url``, read through ``source``; fulfils :class:`audit.plugin.Storage`."""

    root = None

    def __init__(self, url: str, source: Source) -> None:
        self.url = url
        self._source = source
        self.requests = 0
        """Requests so far, those of the listings included; retries inside of the library are not counted."""
        self.bytes_read = 0
        self._tree: dict[str, dict[str, Entry]] | None = None
        self._changed: set[str] = set()
        self._gone: dict[tuple[str, str | None], int] = {}
        """Files that were listed and not there, as they were listed; by how many listings there were before."""
        self._listings = 0
        self._unversioned = secrets.token_hex(8)  # of this process alone: nothing remembered is taken for it later
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, str | None, int], memoryview] = OrderedDict()
        self._kept_bytes = 0
        self._whole_run = True
        self.windows = 0
        """Files that the scan goes through right now; they share what is fetched ahead."""
        self.windows_lock = Lock()

    @property
    def identity(self) -> str:
        return self._source.identity

    @property
    def times(self) -> str | None:
        return self._source.times

    # -- the listing --------------------------------------------------------------------------------------------

    def refresh(self) -> frozenset[str]:
        with self._lock:
            changed, self._changed = frozenset(self._changed), set()
            self._tree = None
            self._listings += 1
        return changed

    def list(self, path: str) -> list[Entry]:
        tree = self._listed()
        if path not in tree:
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), path)
        return [entry for _, entry in sorted(tree[path].items())]

    def _listed(self) -> dict[str, dict[str, Entry]]:
        if self._tree is None:
            self._tree = self._grown()
        return self._tree

    def _grown(self) -> dict[str, dict[str, Entry]]:
        """The directories that the keys of one listing stand for; there is nothing else that tells of a directory."""
        tree: dict[str, dict[str, Entry]] = {"": {}}
        count = 0
        pages = iter(self._source.pages())
        while (page := POOL.submit(lambda: next(pages, None)).result()) is not None:
            self.requests += 1
            count += len(page)
            if count > MOST_OBJECTS:
                raise AuditError(f"{self.url}: more than {MOST_OBJECTS} objects; give the URL of one run")
            for item in page:
                if item.key and not item.key.endswith("/"):  # such as fsspec has it: a marker of a directory
                    self._plant(tree, item)
                if len(tree) > MOST_DIRECTORIES:
                    raise AuditError(f"{self.url}: more than {MOST_DIRECTORIES} directories; give the URL of one run")
        return tree

    def _plant(self, tree: dict[str, dict[str, Entry]], item: Object) -> None:
        above, parts = "", item.key.split("/")
        for number, part in enumerate(parts, 1):
            if part in ("", ".", "..") or not _is_text(part):  # no file of a directory has such a name
                name = quote("/".join(parts[number - 1 :]), safe="", errors="surrogatepass").replace(".", "%2E")
                place = f"{above}/{name}" if above else name
                tree[above][name] = Entry(place, SPECIAL, item.size, item.mtime_ns, 0, 0, version=item.version)
                return
            path = f"{above}/{part}" if above else part
            before = tree[above].get(part)
            if number == len(parts):
                if before is not None and before.kind == DIRECTORY and not item.size:
                    return  # the marker of a directory, which consoles and some clients make: obstore takes the / away
                kind = FILE if before is None else SPECIAL  # both an object and a beginning of others
                version = item.version or f"{self._unversioned}:{item.size}"
                tree[above][part] = Entry(path, kind, item.size, item.mtime_ns, 0, 0, version=version)
            elif before is None or (before.kind == FILE and not before.size):  # a marker comes first
                tree[above][part] = Entry(path, DIRECTORY, 0, 0, 0, 0)
                tree[path] = {}
            elif before.kind != DIRECTORY:
                tree[above][part] = before._replace(kind=SPECIAL)
                tree.setdefault(path, {})
            above = path

    def _entry(self, path: str) -> Entry:
        above, _, name = path.rpartition("/")
        if not {"", ".", ".."}.isdisjoint(path.split("/")):
            raise OSError(EINVAL, "leads out of the run")
        try:
            return self._listed()[above][name]
        except KeyError:
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), path) from None

    # -- reading ------------------------------------------------------------------------------------------------

    def open(self, path: str) -> "ContextReader":
        entry = self._entry(path)
        if entry.kind == DIRECTORY:
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR), path)
        if entry.kind != FILE:
            raise OSError(f"not a regular file: {path}")
        if not entry.size:
            return SmallFile(b"")
        if self.kept(entry, 0) is None:
            self._fetch_with_others(entry)
        if entry.size <= SMALL:
            whole = self.kept(entry, 0)
            return SmallFile(
                whole if whole is not None else self.all_of([partial(self.fetch, entry, 0, entry.size)])[0]
            )
        return LargeFile(self, entry)

    def fetch(self, entry: Entry, start: int, end: int) -> memoryview:
        """Return a range of a file as it was listed. Raises OSError if it is another one by now, UnreachableError."""
        version = entry.version
        if version is not None and version.startswith(f"{self._unversioned}:"):
            version = None
        try:
            data = self._source.read(Object(entry.path, entry.size, version, entry.mtime_ns), start, end)
        except ChangedError as error:
            with self._lock:
                if (
                    error.errno == ENOENT
                    and self._gone.setdefault((entry.path, version), self._listings) < self._listings
                ):
                    raise OSError(EIO, "is listed, and the store does not give it", entry.path) from None
                self._changed.add(entry.path)
            raise
        with self._lock:
            self.requests += 1
            self.bytes_read += len(data)
        return data

    def kept(self, entry: Entry, start: int) -> memoryview | None:
        """Return what is kept of a file from ``start`` on, None if nothing is."""
        with self._lock:
            found = self._kept.get((entry.path, entry.version, start))
            if found is not None:
                self._kept.move_to_end((entry.path, entry.version, start))
            return found

    def kept_parts(self, entry: Entry) -> Sequence[tuple[int, memoryview]]:
        """Return the parts of a large file that are kept, with where they begin."""
        found = ((start, self.kept(entry, start)) for start, _ in self._parts(entry))
        return [(start, data) for start, data in found if data is not None]

    def all_of(self, calls: Iterable[Callable[[], memoryview]]) -> Sequence[memoryview]:
        """Make calls at once; the first error is raised when all have ended."""
        futures = [POOL.submit(call) for call in calls]
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]
        return [future.result() for future in futures]

    def _keep(self, entry: Entry, start: int, data: memoryview) -> None:
        key = (entry.path, entry.version, start)
        with self._lock:
            self._kept_bytes += len(data) - len(self._kept.pop(key, b""))
            self._kept[key] = data
            while self._kept_bytes > KEPT:
                _, dropped = self._kept.popitem(last=False)
                self._kept_bytes -= len(dropped)

    def _fetch_with_others(self, entry: Entry) -> None:
        """Fetch what will be asked of a file, and of those that will be opened with it, at once."""
        wanted: list[tuple[Entry, Span]] = []
        size = 0
        for item in self._companions(entry):
            for start, end in self._parts(item):
                if self.kept(item, start) is None and (item is entry or size + end - start <= KEPT // 2):
                    wanted.append((item, (start, end)))
                    size += end - start

        def call(item: Entry, span: Span) -> Callable[[], memoryview]:
            def fetched() -> memoryview:
                try:
                    data = self.fetch(item, *span)
                except OSError:
                    if item is entry:
                        raise
                    return memoryview(b"")  # whoever opens that file hears of it
                self._keep(item, span[0], data)
                return data

            return fetched

        self.all_of(call(item, span) for item, span in wanted)

    def _companions(self, entry: Entry) -> Iterator[Entry]:
        """The file itself first, then those that are opened with it: of the whole run if it is small."""
        yield entry
        home = entry.path.partition("/")[0] if "/" in entry.path else ""
        homes = [home]
        if self._whole_run and home:
            self._whole_run = False
            alike = _without_digits(home)
            homes = [name for name in self._listed()[""] if _without_digits(name) == alike]
            files = [item for name in homes for item in self._below(name)]
            parts = [part for item in files for part in self._parts(item)]
            if len(files) > MOST_AHEAD or sum(end - start for start, end in parts) > KEPT // 2:
                homes = [home]
        count = 0
        for name in homes if home else ():
            for item in self._below(name):
                if item is not entry and count < MOST_AHEAD:
                    count += 1
                    yield item

    def _below(self, path: str) -> Iterator[Entry]:
        """The files below a directory of the run; the file itself, if it is one."""
        tree = self._listed()
        if path not in tree and (entry := tree[""].get(path)) is not None and entry.kind == FILE:
            yield entry
        for item in tree.get(path, {}).values():
            if item.kind == FILE:
                yield item
            elif item.kind == DIRECTORY:
                yield from self._below(item.path)

    def _parts(self, entry: Entry) -> Sequence[Span]:
        """The parts of a file that are fetched ahead: all of a small one, the ends of a large one that holds states."""
        size = entry.size
        if not size:
            return ()
        if size <= SMALL:
            return ((0, size),)
        if entry.name.endswith(HEADED):
            return ((0, SMALL),)
        if entry.name.endswith(BOTH_ENDS):
            return ((0, SMALL), (max(SMALL, size - SMALL), size))
        return ()


def _without_digits(name: str) -> str:
    return "".join(char for char in name if not char.isdigit())


def _is_text(part: str) -> bool:
    return "\0" not in part and not any("\ud800" <= char <= "\udfff" for char in part)
