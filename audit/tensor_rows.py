"""Rows of zeros in a matrix: which outputs of a LoRA pair were never trained."""

from typing import NamedTuple

from audit.formats.tensors import Tensor
from audit.storage import RangeReader

BLOCK = 1 << 20
"""Bytes read at a time; a row that is longer is read in pieces."""

_MAGNITUDE = {"F32": ("<u4", 0x7FFF_FFFF), "F16": ("<u2", 0x7FFF), "BF16": ("<u2", 0x7FFF)}


class ZeroRows(NamedTuple):
    """The rows of ``rows`` that hold nothing but zeros (-0.0 is one): how many, and the first and last of them.

    ``first`` and ``last`` are -1 where there is none.
    """

    rows: int
    zero: int
    first: int
    last: int

    @property
    def share(self) -> float:
        """Zero rows among all rows, 0 to 1."""
        return self.zero / self.rows

    @property
    def contiguous(self) -> bool:
        """Whether there are zero rows and they lie next to each other."""
        return self.zero > 0 and self.last - self.first + 1 == self.zero


def zero_rows(reader: RangeReader, tensor: Tensor) -> ZeroRows | None:
    """Count the rows of zeros in ``tensor``, row-major; a row is what one index of the first dimension selects.

    None where there is nothing to count: another dtype than F32, F16 and BF16, no values, a shape that does not fill
    ``nbytes``, or a file that ends before the tensor does. Raises OSError. Memory is bounded by BLOCK.
    """
    import numpy as np

    if tensor.dtype not in _MAGNITUDE or not tensor.shape or 0 in tensor.shape:
        return None
    code, mask = _MAGNITUDE[tensor.dtype]
    rows = tensor.shape[0]
    size = int(code[-1])
    columns = 1
    for extent in tensor.shape[1:]:
        columns *= extent
    if min(tensor.shape) < 0 or rows * columns * size != tensor.nbytes:
        return None
    width = columns * size
    buffer = np.empty(BLOCK, np.uint8)
    zero, first, last = 0, -1, -1
    step = max(1, BLOCK // width)
    for row in range(0, rows, step):
        count = min(step, rows - row)
        alive: list[int] = []  # rows of this step with nothing but zeros, as far as they were read
        for at in range(0, width, BLOCK):
            length = count * width if width <= BLOCK else min(BLOCK, width - at)
            if reader.read_into(tensor.offset + row * width + at, buffer.data[:length]) < length:
                return None
            values = (buffer[:length].view(code)).reshape(count, -1)
            # Few rows begin with a zero, so the first column decides nearly all; only the others are read whole.
            alive = np.flatnonzero(values[:, 0] & mask == 0).tolist()
            alive = [i for i in alive if not (values[i] & mask).any()]
            if not alive:
                break
        if alive:
            zero += len(alive)
            first = row + alive[0] if first < 0 else first
            last = row + alive[-1]
    return ZeroRows(rows, zero, first, last)
