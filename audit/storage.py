"""The seam between the audit and where a run is stored: list, stat, read a range.

Everything that the audit learns about a run comes through a :class:`Storage`: a run in a directory through
:class:`LocalStorage`, a run behind a URL through what a plugin brings (hook ``audit_storages``). Paths are relative to
the run, with ``/``; a storage never leaves the run and never changes anything in it.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from errno import EINVAL, ELOOP, ENOTDIR
from typing import NamedTuple, Protocol

FILE, DIRECTORY, LINK, SPECIAL = "file", "directory", "link", "special"
"""Kinds of an :class:`Entry`; special are devices, FIFOs and sockets."""

TRAINER, UPLOAD = "trainer", "upload"
"""Whose times a storage has: those at which the trainer wrote, or those at which somebody uploaded."""

_IN_SCHEME = frozenset("+-.0123456789abcdefghijklmnopqrstuvwxyz")
"""RFC 3986; the first of them is a letter."""


def scheme_of(path: str) -> str | None:
    """Return the scheme of a URL in lower case, None for a path of this machine."""
    named, colon, _ = path.partition("://")
    scheme = named.lower()
    return scheme if colon and named.isascii() and named[:1].isalpha() and _IN_SCHEME.issuperset(scheme) else None


def without_secrets(path: str) -> str:
    """Return a URL without what may be a secret: its query (a signature, a token) and a password; paths as they are."""
    scheme = scheme_of(path)
    if scheme is None:
        return path
    authority, slash, rest = path.partition("://")[2].partition("/")
    user, at, host = authority.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}{at}{host}{slash}{rest}".partition("?")[0]


class Entry(NamedTuple):
    """One directory entry, not followed: sizes in bytes, times in nanoseconds since the epoch."""

    path: str
    kind: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    target: str | None = None
    escapes: bool = False
    allocated: int | None = None
    """Bytes that the file takes up, if the storage knows: a sparse file takes less than its size."""
    version: str | None = None
    """What changes when the file is replaced, such as an ETag; it is no digest. None on a disk, which has inodes."""

    @property
    def sparse(self) -> bool:
        """Whether a huge file is nearly all holes: no trainer writes that, and reading it takes too long.

        File systems that compress shrink weights and moments by less than a tenth of this.
        """
        return self.allocated is not None and self.size > 1 << 30 and self.allocated * 64 < self.size

    @property
    def name(self) -> str:
        """Last component of the path."""
        return self.path.rpartition("/")[2]


class RangeReader(Protocol):
    """An open file that is read by ranges; a range past the end is returned short."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset``; shorter only at the end of the file."""
        ...

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill ``buffer`` from ``offset``; return the number of bytes, less than its length only at the end."""
        ...


class DistantReader(RangeReader, Protocol):
    """An open file of which every read is a round trip, so that many ranges are better asked for at once."""

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Fetch every (offset, length) at once; reads of them that follow find them there. Raises OSError."""
        ...


def is_distant(reader: RangeReader) -> bool:
    """Whether every read of a file is a round trip."""
    return hasattr(reader, "prefetch")


def prefetch(reader: RangeReader, ranges: Sequence[tuple[int, int]]) -> None:
    """Say which (offset, length) are read next: of a distant file they are fetched at once. Raises OSError."""
    fetch = getattr(reader, "prefetch", None)
    if fetch is not None:
        fetch(ranges)


class Storage(Protocol):
    """Where a run is stored.

    Reading may raise :class:`audit.errors.UnreachableError` where the storage itself fails (no permission, no network):
    then nothing is said of the run. An OSError says something of the one file.
    """

    @property
    def root(self) -> str | None:
        """The directory on this machine, None if the run is not here."""
        ...

    @property
    def identity(self) -> str:
        """What the run is called wherever it is looked at from: the URL with its endpoint, or the absolute path."""
        ...

    @property
    def times(self) -> str | None:
        """Whose times its entries have: TRAINER, UPLOAD, or None for none at all."""
        ...

    @property
    def bytes_read(self) -> int:
        """Bytes that were read so far; of a local run without those of the scan, which counts its own."""
        ...

    def refresh(self) -> frozenset[str]:
        """Have the next ``list`` look anew; return the paths that were found changed since the last look."""
        ...

    def list(self, path: str) -> list[Entry]:
        """Return the entries of directory ``path`` (``""`` is the run), sorted by name. Raises OSError."""
        ...

    def open(self, path: str) -> "ContextReader":
        """Open a regular file for reading by ranges. Raises OSError; never blocks on a FIFO or a device."""
        ...


class ContextReader(RangeReader, Protocol):
    """A RangeReader to use in a ``with`` statement."""

    def __enter__(self) -> RangeReader: ...

    def __exit__(self, *exc: object) -> None: ...


PIECE = 4 << 20
"""Bytes that are read of a file at a time where it is read from its beginning to its end."""


def pieces(source: RangeReader, size: int, path: str) -> Iterator[memoryview]:
    """Yield the first ``size`` bytes of a file, each piece in the memory of the one before.

    Raises OSError if it has become shorter; ``path`` names it then.
    """
    buffer = memoryview(bytearray(min(PIECE, size)))
    done = 0
    while done < size:
        count = source.read_into(done, buffer[: size - done])
        if not count:
            raise OSError(0, f"{path} became shorter while it was read")
        yield buffer[:count]
        done += count


class BytesReader:
    """A RangeReader over bytes in memory, for tests and for records inside other files."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]

    def read_into(self, offset: int, buffer: memoryview) -> int:
        chunk = self.data[offset : offset + len(buffer)]
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def __enter__(self) -> RangeReader:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


class _FileReader:
    """A RangeReader over a file descriptor, without a memory map: truncating a mapped file would kill the process."""

    def __init__(self, descriptor: int, size: int, storage: "LocalStorage") -> None:
        self._descriptor = descriptor
        self._storage = storage
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        data = self._read(offset, length)
        self._storage.bytes_read += len(data)
        return data

    def _read(self, offset: int, length: int) -> bytes:
        chunk = os.pread(self._descriptor, length, offset)
        if len(chunk) == length or not chunk:
            return chunk
        parts = [chunk]
        have = len(chunk)
        while have < length and (chunk := os.pread(self._descriptor, length - have, offset + have)):
            parts.append(chunk)
            have += len(chunk)
        return b"".join(parts)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        have = 0
        while have < len(buffer):
            count = os.preadv(self._descriptor, [buffer[have:]], offset + have)
            if count == 0:
                break
            have += count
        return have

    def __enter__(self) -> RangeReader:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._descriptor)


class LocalStorage:
    """A run in a local directory."""

    times = TRAINER

    def __init__(self, root: str) -> None:
        self.root = root
        self._real = os.path.realpath(root)
        self.bytes_read = 0
        """Bytes returned by ``read``; the scan counts its own."""

    @property
    def identity(self) -> str:
        return os.path.abspath(self.root)

    def refresh(self) -> frozenset[str]:
        return frozenset()  # every listing is a new one

    def list(self, path: str) -> list[Entry]:
        handle = self._beneath(path, os.O_DIRECTORY)
        try:
            with os.scandir(handle) as found:
                return sorted(entry for item in found if (entry := self._entry(path, item, handle)) is not None)
        finally:
            os.close(handle)

    def _entry(self, parent: str, item: os.DirEntry[str], handle: int) -> Entry | None:
        """Return the entry, None if it was deleted meanwhile, as by a trainer's rotation."""
        path = f"{parent}/{item.name}" if parent else item.name
        target, escapes = None, False
        try:
            info = item.stat(follow_symlinks=False)
            kind = _kind(info.st_mode)
            if kind == LINK:
                target = os.readlink(item.name, dir_fd=handle)
        except FileNotFoundError:
            return None
        if target is not None:
            kind, info, escapes = self._follow(path, info)
        return Entry(
            path,
            kind,
            info.st_size,
            info.st_mtime_ns,
            info.st_ctime_ns,
            info.st_ino,
            target,
            escapes,
            info.st_blocks * 512,
        )

    def _follow(self, path: str, info: os.stat_result) -> tuple[str, os.stat_result, bool]:
        """Follow a link only if its target is inside the first component of its own path (one checkpoint)."""
        inside = self._inside(path)
        if inside is None:
            return LINK, info, True
        try:
            followed = os.stat(os.path.join(self._real, inside), follow_symlinks=False)
        except OSError:  # a target that is not there
            return LINK, info, False
        if stat.S_ISDIR(followed.st_mode) or stat.S_ISLNK(followed.st_mode):  # the latter: a loop
            return LINK, info, False
        return _kind(followed.st_mode), followed, False

    def open(self, path: str) -> ContextReader:
        # O_NONBLOCK: opening a FIFO that nobody writes to must not hang the audit.
        try:
            descriptor = self._beneath(path, os.O_NONBLOCK)
        except OSError as error:
            inside = self._inside(path) if error.errno in (ELOOP, ENOTDIR) else None
            if inside is None:
                raise
            descriptor = self._beneath(inside, os.O_NONBLOCK)
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            os.close(descriptor)
            raise OSError(f"not a regular file: {path}")
        return _FileReader(descriptor, info.st_size, self)

    def _inside(self, path: str) -> str | None:
        """Return where a link of a checkpoint really is, relative to the run; None if that is not in its checkpoint."""
        home = os.path.join(self._real, path.partition("/")[0] if "/" in path else "")
        real = os.path.realpath(os.path.join(self._real, path))
        if os.path.commonpath([home, real]) != home.rstrip("/"):
            return None
        return os.path.relpath(real, self._real)

    def _beneath(self, path: str, flags: int) -> int:
        """Open a path below the run, each directory by the handle of the one above. Raises OSError.

        No link is followed on the way: one that took the place of a file or directory since the run was listed could
        lead anywhere.
        """
        parts = path.split("/") if path else []
        if not {"", ".", ".."}.isdisjoint(parts):
            raise OSError(EINVAL, "leads out of the run")
        handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for number, part in enumerate(parts, 1):
                own = flags if number == len(parts) else os.O_DIRECTORY
                above, handle = handle, os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | own, dir_fd=handle)
                os.close(above)
        except OSError:
            os.close(handle)
            raise
        return handle


_KINDS = {stat.S_IFREG: FILE, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: LINK}


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), SPECIAL)
