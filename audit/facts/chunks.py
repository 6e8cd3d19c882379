"""A tensor that is stored in chunks, read as if its elements were in one file, one after the other."""

from bisect import bisect_right
from collections.abc import Callable
from math import prod

from audit.facts.whole_tensors import Part, WholeTensor
from audit.formats.dcp import Chunk, overlap
from audit.formats.pickle_values import ITEM_SIZES
from audit.storage import RangeReader


class Assembled:
    """Reads a whole tensor piece by piece: no more is held than what is asked for.

    ``reader_of`` opens the file of a part. Raises OSError if the parts are not the whole tensor, or not in plain order.
    """

    def __init__(self, whole: WholeTensor, reader_of: Callable[[str], RangeReader]) -> None:
        sizes = len(whole.shape)
        # What is not divided is stored once for each process, if they saved without each other.
        parts = {(part.offsets, part.tensor.shape): part for part in reversed(whole.parts)}.values()
        if whole.dtype not in ITEM_SIZES or any(len(part.offsets) != sizes for part in parts):
            raise OSError(0, "its chunks do not fit together; not compared")
        if any(len(part.tensor.shape) != sizes or part.tensor.dtype != whole.dtype for part in parts):
            raise OSError(0, "its chunks do not fit together; not compared")
        if not all(part.dense for part in parts):
            raise OSError(0, "its elements are stored in an unusual order; not compared")
        if sum(prod(part.tensor.shape) for part in parts) != prod(whole.shape):
            raise OSError(0, "not all of its chunks are stored; not compared")
        if overlap([Chunk(part.offsets, part.tensor.shape) for part in parts]):
            raise OSError(0, "its chunks overlap; not compared")
        self._chunks = [_Chunk(part, whole.shape, reader_of(part.path)) for part in parts]
        self.size = prod(whole.shape) * ITEM_SIZES[whole.dtype]

    def read(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes from ``offset`` of the whole tensor."""
        length = max(0, min(length, self.size - offset))
        piece = bytearray(length)
        filled = sum(chunk.fill(piece, offset) for chunk in self._chunks)
        if filled != length:
            raise OSError(0, "its chunks became shorter while they were read")
        return bytes(piece)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Read into a buffer; return how many bytes."""
        data = self.read(offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Chunk:
    """A chunk as runs of bytes that are contiguous in the whole tensor, too; in the file they follow each other."""

    def __init__(self, part: Part, shape: tuple[int, ...], reader: RangeReader) -> None:
        self._reader = reader
        self._at = part.tensor.offset
        item, sizes, offsets = ITEM_SIZES[part.tensor.dtype], part.tensor.shape, part.offsets
        axis = len(shape)  # this dimension and all after it are whole
        while axis and sizes[axis - 1] == shape[axis - 1]:
            axis -= 1
        outer = max(0, axis - 1)
        self._outer = sizes[:outer]
        self._steps = [item * prod(shape[place + 1 :]) for place in range(len(shape))]
        self._first = sum(start * step for start, step in zip(offsets, self._steps, strict=True))
        self._run = item * prod(sizes[outer:])
        self._runs = prod(self._outer)

    def fill(self, piece: bytearray, offset: int) -> int:
        """Put what the chunk has of ``piece``, which begins at ``offset`` of the tensor; return how many bytes."""
        end = offset + len(piece)
        run = max(0, bisect_right(range(self._runs), offset, key=self._start) - 1)
        filled = 0
        stop = bisect_right(range(self._runs), end - 1, key=self._start)
        if run >= stop:
            return 0
        low, high = max(offset - self._start(run), 0), end - self._start(stop - 1)
        begin, last = run * self._run + min(low, self._run), (stop - 1) * self._run + min(max(high, 0), self._run)
        data = self._reader.read(self._at + begin, last - begin)
        for number in range(run, stop):
            start = self._start(number)
            first, after = max(start, offset), min(start + self._run, end)
            if first < after:
                place = number * self._run + first - start - begin
                part = data[place : place + after - first]
                piece[first - offset : first - offset + len(part)] = part
                filled += len(part)
        return filled

    def _start(self, run: int) -> int:
        """Where a run begins in the whole tensor, in bytes."""
        place = self._first
        for size, step in zip(reversed(self._outer), reversed(self._steps[: len(self._outer)]), strict=True):
            run, index = divmod(run, size)
            place += index * step
        return place
