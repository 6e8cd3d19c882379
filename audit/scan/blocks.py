"""One file being scanned: its blocks are read and checked in any order, hashed and joined in the file's order."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import ExitStack
from threading import Condition

import numpy as np
from blake3 import blake3
from isal.isal_zlib import crc32

from audit.scan import floats, zeros
from audit.scan.values import FileScan, ScanJob, Span, SpanScan
from audit.storage import RangeReader

_AHEAD = 8  # a value that begins in a block is read to its end: no value has more bytes


class Buffer:
    """One thread's block, reused for every read."""

    def __init__(self, size: int) -> None:
        self.array = np.empty(size + _AHEAD, np.uint8)
        self.view = self.array.data
        self.words = self.array[:size].view(np.uint64)
        self.values = {form.itemsize: floats.views(self.array, form.itemsize) for form in floats.FORMATS.values()}


class _Part:
    """What is known of one span so far. There are thousands of spans, so it is small."""

    __slots__ = ("at", "crc", "longest", "negative", "nonfinite", "open", "open_at", "peak", "values")

    def __init__(self) -> None:
        self.nonfinite = self.negative = False
        self.peak = self.crc = self.values = 0
        self.longest = self.at = 0  # longest run of zeros that has ended, and its offset
        self.open = self.open_at = 0  # the run that reaches the end of what was seen


class File:
    """The scan of one job. ``claimed`` counts blocks given to a thread; the pool changes it under its own lock."""

    def __init__(self, job: ScanJob, block: int) -> None:
        self.job = job
        self.block = block
        self.count = max(1, -(-job.size // block))  # an empty file is one block of no bytes
        self.claimed = 0
        self.error: str | None = None
        self._active = self._turn = self._read = 0
        self._hash = blake3()
        self._changed = Condition()
        self._stack = ExitStack()
        self._reader: RangeReader | None = None
        self._spans = _apart(job.spans)
        self._starts = [span.offset for span in self._spans]
        self._ends = [min(span.offset + span.length, job.size) for span in self._spans]
        self._forms = [floats.FORMATS.get(span.dtype or "") for span in self._spans]
        self._parts = [_Part() for _ in self._spans]
        runs = [span.zero_run for span in self._spans if span.zero_run]
        self._every = zeros.stride(max(min(runs), zeros.SHORTEST)) if runs else 0

    @property
    def left(self) -> int:
        """Blocks that no thread has claimed; none after an error."""
        return 0 if self.error else self.count - self.claimed

    def process(self, index: int, buffer: Buffer) -> int:
        """Scan block ``index`` and return its size in bytes; after an error, do nothing."""
        with self._changed:
            if self.error:
                return 0
            self._active += 1
        done = 0
        try:
            done = self._process(index, buffer)
        except OSError as error:
            self._fail(f"could not be read: {error.strerror or error}")
        except BaseException:
            self._fail("could not be scanned")  # wakes the threads that wait for this block
            raise
        finally:
            with self._changed:
                self._active -= 1
                if not self._active and self._over():
                    self._stack.close()
        return done

    def result(self) -> FileScan:
        """Return what was found, once every block is processed."""
        digest = self._hash.hexdigest() if self.job.digest and not self.error else ""
        seen = min(self._turn * self.block, self.job.size)
        spans = {span.name: _summary(span, _Part(), -1 if span.length else seen) for span in self.job.spans}
        for span, part in zip(self._spans, self._parts, strict=True):
            spans[span.name] = _summary(span, part, seen)
        return FileScan(digest, self.job.size, self._read, spans, self.error)

    def _over(self) -> bool:
        return self.error is not None or self._turn == self.count

    def _fail(self, message: str) -> None:
        with self._changed:
            self.error = self.error or message
            self._changed.notify_all()

    def _open(self) -> RangeReader:
        if self._reader is not None:
            return self._reader
        with self._changed:
            if self._reader is None:
                self._reader = self._stack.enter_context(self.job.open())
            return self._reader

    def _process(self, index: int, buffer: Buffer) -> int:
        start = index * self.block
        left = self.job.size - start
        # One byte past the end is read, to notice a file that grew.
        got = self._open().read_into(start, buffer.view[: min(self.block + _AHEAD, left + 1)])
        if got < min(self.block + _AHEAD, left):
            self._fail(f"was truncated while being read: {start + got} of {self.job.size} bytes")
            return 0
        if got > left:
            self._fail(f"grew while being read: more than {self.job.size} bytes")
            return 0
        length = min(self.block, left)
        spans = range(bisect_right(self._ends, start), bisect_left(self._starts, start + length))
        extents = self._floats(buffer, start, length, spans)
        runs = self._zeros(buffer, start, length, spans)
        with self._changed:
            while self._turn != index and not self.error:
                self._changed.wait()
            if self.error:
                return 0
        # Only the thread whose turn it is gets here, so the rest needs no lock.
        block = buffer.view[:length]
        if self.job.digest:
            self._hash.update(block)
        for i in spans:
            if self._spans[i].crc is not None:
                part = block[max(self._starts[i] - start, 0) : self._ends[i] - start]
                self._parts[i].crc = crc32(part, self._parts[i].crc)
        for i, extent in extents:
            found = self._parts[i]
            found.values += 1
            found.nonfinite |= extent.nonfinite
            found.negative |= extent.negative
            found.peak = max(found.peak, extent.peak)
        for i, size, run in runs:
            _join(self._parts[i], max(self._starts[i], start), size, run)
        with self._changed:
            self._read += length
            self._turn += 1
            self._changed.notify_all()
        return length

    def _floats(self, buffer: Buffer, start: int, length: int, spans: range) -> list[tuple[int, floats.Extent]]:
        """Return the extents of all values that begin in the block, by span."""
        groups: dict[tuple[floats.Format, int], tuple[list[int], list[int]]] = {}
        for i in spans:
            form = self._forms[i]
            if form is None:
                continue
            # Blocks begin at multiples of 8, so values have the same phase in the block as in the file.
            size = form.itemsize
            phase = self._starts[i] % size
            first = max((self._starts[i] - start) // size, 0)
            end = min((self._ends[i] - start - phase) // size, (length + size - 1 - phase) // size)
            if first < end:
                owners, bounds = groups.setdefault((form, phase), ([], []))
                owners.append(i)
                bounds += (first, end)
        found: list[tuple[int, floats.Extent]] = []
        for (form, phase), (owners, bounds) in groups.items():
            values = buffer.values[form.itemsize]
            if phase:  # numpy is slow with integers that are not aligned
                values = floats.views(buffer.array[phase:].copy(), form.itemsize)
            found += zip(owners, floats.extents(values, form, bounds), strict=True)
        return found

    def _zeros(self, buffer: Buffer, start: int, length: int, spans: range) -> list[tuple[int, int, zeros.Runs]]:
        """Return the parts of the block with a long run of zeros, or the beginning or end of one."""
        if not self._every or not spans:
            return []
        hits = zeros.candidates(buffer.words[: length // 8], self._every)
        found = []
        for i in spans if hits else {spans[0], spans[-1]}:
            shortest = self._spans[i].zero_run
            if not shortest or self._spans[i].length < shortest:
                continue
            first, end = max(self._starts[i] - start, 0), min(self._ends[i] - start, length)
            hit = bisect_left(hits, first - 7)
            if hit < len(hits) and hits[hit] < end:
                run = zeros.search(buffer.array[first:end], max(shortest, zeros.SHORTEST))
            elif self._starts[i] < start or self._ends[i] > start + length:
                run = zeros.edges(buffer.view[first:end], shortest + 16)
            else:
                continue
            found.append((i, end - first, run))
        return found


def _apart(spans: Sequence[Span]) -> list[Span]:
    """Return the spans that are not empty, by offset, without those that overlap one before them."""
    kept = []
    end = 0
    for span in sorted(spans, key=lambda span: span.offset):
        if span.length > 0 and span.offset >= end:
            kept.append(span)
            end = span.offset + span.length
    return kept


def _join(found: _Part, offset: int, size: int, run: zeros.Runs) -> None:
    """Add the runs of the next ``size`` bytes of a span, which begin at ``offset``."""
    if not found.open:
        found.open_at = offset
    if run.lead >= size:
        found.open += size
        return
    joined = found.open + run.lead
    if joined > found.longest:
        found.longest, found.at = joined, found.open_at
    if run.longest > found.longest:
        found.longest, found.at = run.longest, offset + run.at
    found.open, found.open_at = run.trail, offset + size - run.trail


def _summary(span: Span, found: _Part, seen: int) -> SpanScan:
    longest, at = found.longest, found.at
    if found.open > longest:
        longest, at = found.open, found.open_at
    if not span.zero_run or longest < max(span.zero_run, zeros.SHORTEST):
        longest, at = 0, 0
    return SpanScan(
        nonfinite=found.nonfinite,
        negative=found.negative,
        all_zero=bool(found.values) and not found.peak and not found.nonfinite,
        peak=floats.to_float(span.dtype, found.peak) if span.dtype and found.values else 0.0,
        zero_run=longest,
        zero_run_at=at,
        crc=None if span.crc is None else found.crc,
        complete=0 <= span.offset + span.length <= seen,
    )
