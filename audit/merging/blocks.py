"""The bytes of one tensor of the merged model, block by block: memory does not grow with the model."""

from collections.abc import Iterator, Mapping
from math import isfinite, prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from audit.errors import AuditError
from audit.formats.pickle_values import ITEM_SIZES
from audit.formats.tensors import Tensor
from audit.merging.arithmetic import Floats, decoded, encoded, merged, updated, with_squares
from audit.merging.digests import BLOCK
from audit.merging.plan import Output
from audit.merging.refusals import refuse
from audit.storage import RangeReader

LEAST_ROWS = 16
"""Rows of a product at least, if there are as many: of fewer, BLAS may add in another order."""


class Readers(NamedTuple):
    """The open files: ``base`` by the name of the shard; ``where`` is the adapter's, for messages."""

    base: Mapping[str, RangeReader]
    adapter: RangeReader
    where: str


class Block(NamedTuple):
    """Bytes to write, those of the base that were read for it, and the squares of the update and of the weight."""

    data: memoryview
    read: bytes
    update: float = 0.0
    weight: float = 0.0


def blocks(output: Output, readers: Readers) -> Iterator[Block]:
    """Yield the bytes of a tensor from its first to its last.

    Raises OSError; RefusedError if a value is not finite after it was merged, or if the adapter's copy of a tensor is
    not that of the base; AuditError if a file became shorter.
    """
    if output.update is not None:
        yield from _merged(output, readers)
        return
    base = readers.base[output.shard.name]
    for begin, count in _chunks(prod(output.shape), output.source, output.saved):
        raw = read_elements(base, output.source, begin, count)
        _compare(output, raw, begin, count, readers)
        taken, dtype = raw, output.source.dtype
        if output.saved is not None:
            taken, dtype = read_elements(readers.adapter, output.saved, begin, count), output.saved.dtype
        if dtype != output.dtype:
            original = decoded(taken, dtype)
            values = encoded(original, output.dtype)
            if output.saved is not None:
                _check_finite(values, output, readers)
            elif np.any(_not_finite(values, output.dtype) & np.isfinite(original)):
                where = f"{output.shard.name} of the base"
                refuse(where, f"{output.name} has a value that float16 cannot hold", "use --dtype bfloat16")
            yield Block(_bytes_of(values), raw)
        else:
            yield Block(memoryview(taken), raw)


def read_elements(reader: RangeReader, tensor: Tensor, first: int, count: int) -> bytes:
    """Return elements of a tensor as they are in the file. Raises OSError, AuditError."""
    if tensor.dtype not in ITEM_SIZES:  # packed in less than a byte: all of it or nothing
        first, count, size = 0, tensor.nbytes, 1
    else:
        size = ITEM_SIZES[tensor.dtype]
    data = reader.read(tensor.offset + first * size, count * size)
    if len(data) != count * size:
        raise AuditError(f"{tensor.name}: its file became shorter while it was read; try again")
    return data


def whole(reader: RangeReader, tensor: Tensor) -> Floats:
    """Return all of a matrix of the adapter as float32. Raises OSError, AuditError."""
    data = read_elements(reader, tensor, 0, prod(tensor.shape))
    return decoded(data, tensor.dtype).reshape(tensor.shape)


def _chunks(total: int, source: Tensor, saved: Tensor | None) -> Iterator[tuple[int, int]]:
    if source.dtype not in ITEM_SIZES:
        yield 0, total
        return
    step = BLOCK // max(ITEM_SIZES[source.dtype], ITEM_SIZES[saved.dtype] if saved is not None else 1)
    for begin in range(0, total, step):
        yield begin, min(step, total - begin)


def _merged(output: Output, readers: Readers) -> Iterator[Block]:
    update, source = output.update, output.source
    if update is None:
        raise TypeError(output.name)
    rows, columns = output.shape[0], prod(output.shape[1:])
    a, b = (
        whole(readers.adapter, tensor).reshape(tensor.shape[0], prod(tensor.shape[1:]))
        for tensor in (update.a, update.b)
    )
    left, right = (a.T, np.ascontiguousarray(b.T)) if update.transposed else (b, a)
    magnitude = whole(readers.adapter, update.magnitude) if update.magnitude is not None else None
    plain = update.embedding and magnitude is None  # with DoRA nothing is rounded before the end
    update_as = source.dtype if plain and output.dtype == source.dtype else "F32"
    base = readers.base[output.shard.name]
    factor = None
    if magnitude is not None and update.transposed:
        factor, magnitude = _column_factors(output, base, left, right, magnitude), None
    for begin, end in row_blocks(rows, columns):
        raw = read_elements(base, source, begin * columns, (end - begin) * columns)
        _compare(output, raw, begin * columns, (end - begin) * columns, readers)
        weight = decoded(raw, source.dtype).reshape(end - begin, columns)
        part = np.ascontiguousarray(left[begin:end])
        scale = magnitude[begin:end] if magnitude is not None else None
        with np.errstate(all="ignore"):  # what is not finite is found below
            total, added = merged(
                weight, part, right, update.scaling, magnitude=scale, update_as=update_as, factor=factor
            )
            values = encoded(total, output.dtype)
            squares = [_squares(part) for part in (added, weight)]
        _check_finite(values, output, readers)
        yield Block(_bytes_of(values), raw, *squares)


def _column_factors(output: Output, base: RangeReader, left: Floats, right: Floats, magnitude: Floats) -> Floats:
    """Magnitude over norm of each column, for which all rows are read once more beforehand."""
    update, source = output.update, output.source
    if update is None:
        raise TypeError(output.name)
    rows, columns = output.shape
    sums: Floats = np.zeros(columns, np.float32)
    with np.errstate(all="ignore"):  # what is not finite is found in the merged values
        for begin, end in row_blocks(rows, columns):
            raw = read_elements(base, source, begin * columns, (end - begin) * columns)
            weight = decoded(raw, source.dtype).reshape(end - begin, columns)
            total, _ = updated(weight, np.ascontiguousarray(left[begin:end]), right, update.scaling)
            sums = with_squares(sums, total)
        norms: Floats = np.sqrt(sums)
        return magnitude / norms


def _squares(values: Floats) -> float:
    found = float(np.vdot(values, values))
    return found if isfinite(found) else float(np.sum(np.square(values, dtype=np.float64)))


def row_blocks(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Yield the first row and the one after the last of each block: about BLOCK bytes of float32, never a few rows."""
    step = max(LEAST_ROWS, BLOCK // (4 * max(1, columns)) // LEAST_ROWS * LEAST_ROWS)
    begin = 0
    while begin < rows:
        end = begin + step if rows - begin - step >= LEAST_ROWS else rows
        yield begin, min(end, rows)
        begin = end


def _compare(output: Output, raw: bytes, first: int, count: int, readers: Readers) -> None:
    """Refuse an adapter whose copy of a tensor is not that of the base, in the coarser of the two types."""
    copy, source = output.equal, output.source
    if copy is None:
        return
    other = read_elements(readers.adapter, copy, first, count)
    if copy.dtype == source.dtype:
        same = other == raw
    elif ITEM_SIZES[copy.dtype] > ITEM_SIZES[source.dtype]:
        same = encoded(decoded(other, copy.dtype), source.dtype).tobytes() == raw
    else:
        same = encoded(decoded(raw, source.dtype), copy.dtype).tobytes() == other
    if not same:
        refuse(
            readers.where,
            f"holds a copy of {output.name} that is not the base's: it was trained on another base, or its embeddings "
            "were resized",
            "give the base that it was trained on with --base",
        )


def _check_finite(values: npt.NDArray[Any], output: Output, readers: Readers) -> None:
    if _not_finite(values, output.dtype).any():
        refuse(readers.where, f"{output.name} has a value that is not finite once merged", "verify the run")


def _not_finite(values: npt.NDArray[Any], dtype: str) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (values & 0x7F80) == 0x7F80 if dtype == "BF16" else ~np.isfinite(values)
    return found


def _bytes_of(values: npt.NDArray[Any]) -> memoryview:
    return memoryview(np.ascontiguousarray(values).data).cast("B") if values.size else memoryview(b"")
