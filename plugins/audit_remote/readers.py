"""Open files of a run behind a URL: whole ones in memory, and large ones by ranges or, in the scan, block by block."""

from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from audit_remote.waiting import POOL

if TYPE_CHECKING:
    from audit.plugin import Entry, RangeReader

BLOCK = 2 << 20
"""Bytes of a request of the scan."""

AHEAD = 8
"""Blocks of all files together that are fetched before the scan asks for them."""

LEAST = 32 << 10
"""Bytes that are fetched at least: a round trip takes longer."""

GAP = 16 << 10
"""Bytes between two ranges that are rather fetched with them."""

LONG = 256 << 10
"""Bytes of a read whose result is not kept: nobody parses so much twice."""

HELD = 64 << 20
"""Bytes of a file that are held while it is parsed; the largest pickle has as many."""

OVERLAP = 64
"""Bytes at the beginning of a block that a thread may read which is still busy with the one before."""


class Fetching(Protocol):
    """What an open file needs of its storage."""

    windows: int
    windows_lock: Lock

    def fetch(self, entry: "Entry", start: int, end: int) -> memoryview:
        """Return a range of a file as it was listed. Raises OSError, UnreachableError."""
        ...

    def all_of(self, calls: Iterable[Callable[[], memoryview]]) -> Sequence[memoryview]:
        """Make calls at once."""
        ...

    def kept_parts(self, entry: "Entry") -> Sequence[tuple[int, memoryview]]:
        """Return the parts of a file that are kept, with where they begin."""
        ...


class SmallFile:
    """A file that is in memory as a whole."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self.size = len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self._data[offset : offset + length])

    def read_into(self, offset: int, buffer: memoryview) -> int:
        part = self._data[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        return len(part)

    def __enter__(self) -> "RangeReader":
        return self

    def __exit__(self, *exc: object) -> None:
        pass


class LargeFile:
    """A file of which parts are fetched when they are asked for.

    ``read`` and ``prefetch`` are for one thread, as formats are parsed; ``read_into`` is for many, which go through the
    file from its beginning to its end: it fetches blocks ahead, each once.
    """

    def __init__(self, storage: Fetching, entry: "Entry") -> None:
        self._storage = storage
        self._entry = entry
        self.size = entry.size
        self._parts: list[tuple[int, memoryview]] = sorted(storage.kept_parts(entry), key=_start)
        self._held = 0
        self._window: _Window | None = None
        self._end = -1
        self._lock = Lock()

    def read(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        if not length:
            return b""
        found = self._there(offset, length)
        if found is not None:
            return found
        in_sequence, self._end = offset == self._end, offset + length
        if in_sequence and length >= LEAST:
            piece = bytearray(length)
            self.read_into(offset, memoryview(piece))
            return bytes(piece)
        if length >= LONG:
            return b"".join(self._storage.all_of(map(self._call, _cut(offset, offset + length))))
        self.prefetch([(offset, length)])
        return self._there(offset, length) or b""

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        missing = sorted(
            (offset, min(offset + length, self.size))
            for offset, length in ranges
            if 0 <= offset < self.size and length > 0 and self._there(offset, min(length, self.size - offset)) is None
        )
        spans: list[list[int]] = []
        for start, end in missing:
            if spans and start - spans[-1][1] <= GAP and end - spans[-1][0] <= BLOCK:
                spans[-1][1] = max(spans[-1][1], end)
            else:
                spans.append([start, end])
        if len(spans) == 1:
            spans[0][1] = min(self.size, max(spans[0][1], spans[0][0] + LEAST))
        data = self._storage.all_of(self._call((start, end)) for start, end in spans)
        self._held += sum(map(len, data))
        if self._held > HELD:
            self._parts, self._held = [], sum(map(len, data))
        for (start, _), piece in zip(spans, data, strict=True):
            insort(self._parts, (start, piece), key=_start)

    def _call(self, span: tuple[int, int]) -> "partial[memoryview]":
        return partial(self._storage.fetch, self._entry, *span)

    def _there(self, offset: int, length: int) -> bytes | None:
        """A range that was fetched before, None if not all of it was."""
        place = bisect_right(self._parts, offset, key=_start)
        for start, data in reversed(self._parts[max(0, place - 4) : place]):
            if offset + length <= start + len(data):
                return bytes(data[offset - start : offset - start + length])
        return None

    def read_into(self, offset: int, buffer: memoryview) -> int:
        with self._lock:
            if self._window is None:
                self._window = _Window(self._storage, self._entry, self._parts)
        return self._window.read_into(offset, buffer)

    def __enter__(self) -> "RangeReader":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._window is not None:
            self._window.close()
        self._parts = []


class _Window:
    """The blocks of a file that are being fetched or read; each is dropped once all of it was read."""

    def __init__(self, storage: Fetching, entry: "Entry", parts: Sequence[tuple[int, memoryview]]) -> None:
        self._storage = storage
        self._entry = entry
        self._parts = list(parts)
        self._count = -(-entry.size // BLOCK)
        self._blocks: dict[int, Future[memoryview]] = {}
        self._left: dict[int, int] = {}
        self._beginnings: dict[int, memoryview] = {}
        self._lock = Lock()
        with storage.windows_lock:
            storage.windows += 1

    def read_into(self, offset: int, buffer: memoryview) -> int:
        wanted = max(0, min(len(buffer), self._entry.size - offset))
        done = 0
        while done < wanted:
            index, start = divmod(offset + done, BLOCK)
            block = self._beginning(index, start + wanted - done)
            if block is None:
                block = self._block(index).result()
            part = block[start : start + wanted - done]
            if not len(part):
                break
            buffer[done : done + len(part)] = part
            done += len(part)
            self._read(index, len(part))
        return done

    def _beginning(self, index: int, end: int) -> memoryview | None:
        """The beginning of a block that was dropped, if no more is asked for."""
        with self._lock:
            return self._beginnings.get(index) if end <= OVERLAP and index not in self._blocks else None

    def _block(self, index: int) -> "Future[memoryview]":
        """The block, with those that come next on their way, too."""
        ahead = max(1, AHEAD // max(1, self._storage.windows))
        with self._lock:
            if index not in self._blocks and index in self._left:  # once more from here on
                self._left = {number: left for number, left in self._left.items() if number < index}
            for number in range(index, min(index + 1 + ahead, self._count)):
                if number not in self._blocks and number not in self._left:
                    self._blocks[number] = POOL.submit(partial(self._fetched, number))
                    self._left[number] = min(BLOCK, self._entry.size - number * BLOCK)
            return self._blocks[index]

    def _read(self, index: int, count: int) -> None:
        with self._lock:
            if index not in self._blocks:
                return
            self._left[index] -= count
            if self._left[index] <= 0:  # what two neighbours read of a block counts twice, and is a few bytes
                self._beginnings[index] = memoryview(bytes(self._blocks.pop(index).result()[:OVERLAP]))

    def _fetched(self, index: int) -> memoryview:
        """One block, its beginning or end from what was fetched while the file was parsed."""
        start, end = index * BLOCK, min((index + 1) * BLOCK, self._entry.size)
        head = tail = memoryview(b"")
        for at, data in self._parts:
            if at <= start < at + len(data):
                head = max(head, data[start - at : end - at], key=len)
            elif start < at < end <= at + len(data):
                tail = max(tail, data[: end - at], key=len)
        if len(head) + len(tail) >= end - start:
            return memoryview(bytes(head) + bytes(tail)[len(head) + len(tail) - (end - start) :])
        middle = self._storage.fetch(self._entry, start + len(head), end - len(tail))
        return memoryview(b"".join((head, middle, tail))) if len(head) or len(tail) else middle

    def close(self) -> None:
        with self._lock:
            for future in self._blocks.values():
                future.cancel()
            self._blocks.clear()
        with self._storage.windows_lock:
            self._storage.windows -= 1


def _start(part: tuple[int, memoryview]) -> int:
    return part[0]


def _cut(start: int, end: int) -> list[tuple[int, int]]:
    return [(at, min(at + BLOCK, end)) for at in range(start, end, BLOCK)]
