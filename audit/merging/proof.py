"""The proof of a merged model, from what is on the disk, by another path than the one that wrote it.

Every byte of every file is read again and hashed. A tensor that was copied has the digest of the base's, taken by its
name; one that was replaced as it is has that of the adapter's. Of every other tensor some rows are computed once more
in float64 from the files, and each value has to be within half a unit of rounding of it, and what float32 may add to
that.
"""

import os
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from audit.errors import AuditError
from audit.formats.damage import Damage
from audit.formats.safetensors import read_safetensors
from audit.formats.tensors import Tensor
from audit.merging.blocks import Readers, read_elements
from audit.merging.digests import Advance, Digests, digests_of, tensor_digest
from audit.merging.plan import COPIED, REPLACED, File, Output, Plan
from audit.merging.weight_files import Written
from audit.storage import LocalStorage, RangeReader

ROWS = 8
"""Rows of each tensor that are computed again: the first, the last and others that its name chooses."""
_MOST_VALUES = 1 << 16
"""Values of a row at most: a tensor of one dimension may be long."""

_ULP = {"F32": 2.0**-23, "BF16": 2.0**-7, "F16": 2.0**-10}
_SMALLEST = {"F32": 2.0**-149, "BF16": 2.0**-133, "F16": 2.0**-24}
_EPS = 2.0**-23

Doubles = npt.NDArray[np.float64]


class Checked(NamedTuple):
    """How one tensor was proven: ``rows`` and ``values`` that were computed again, 0 if its digest says it all.

    ``worst`` is the largest deviation from float64, as a share of what rounding explains.
    """

    rows: int
    values: int
    worst: float


def prove_files(
    plan: Plan,
    readers: Readers,
    known: Mapping[str, Digests],
    written: Written,
    home: str,
    advance: Advance,
) -> dict[str, Checked]:
    """Return how each tensor was proven, by name. Raises AuditError for a tensor that is not what it should be."""
    storage = LocalStorage(home)
    found: dict[str, Checked] = {}
    for file in plan.files:
        with storage.open(file.name) as reader:
            tensors = _tensors(reader, file, home)
            digests = digests_of(reader, tensors.values(), advance)
            if digests.file != written.files[file.name]:
                raise AuditError(f"{os.path.join(home, file.name)}: is not what was written; is the disk failing?")
            for output in file.outputs:
                digest = digests.tensors[output.name]
                found[output.name] = _checked(output, tensors[output.name], reader, readers, known, digest)
    return found


def _tensors(reader: RangeReader, file: File, home: str) -> Mapping[str, Tensor]:
    found = read_safetensors(reader)
    place = os.path.join(home, file.name)
    if isinstance(found, Damage):
        raise AuditError(f"{place}: {found.message}")
    wanted = {output.name: (output.dtype, output.shape) for output in file.outputs}
    if {name: (tensor.dtype, tensor.shape) for name, tensor in found.tensors.items()} != wanted:
        raise AuditError(f"{place}: does not hold the tensors that were planned; please report this")
    return found.tensors


def _checked(
    output: Output, tensor: Tensor, reader: RangeReader, readers: Readers, known: Mapping[str, Digests], digest: str
) -> Checked:
    """Raises AuditError."""
    if output.kind == COPIED:
        if digest != known[output.shard.name].tensors[output.source.name]:
            raise AuditError(f"{output.name} is not the base's, though nothing changes it; please report this")
        return Checked(0, 0, 0.0)
    if output.kind == REPLACED and output.saved is not None and output.saved.dtype == output.dtype:
        if digest != tensor_digest(readers.adapter, output.saved):
            raise AuditError(f"{output.name} is not the one that the adapter holds; please report this")
        return Checked(0, 0, 0.0)
    rows, count, worst = 0, 0, 0.0
    update = output.update
    matrix = _matrix(readers.adapter, update.b if update.transposed else update.a) if update is not None else None
    columns = _columns(output, readers, matrix) if matrix is not None else None
    for row, first, width in _sample(output):
        exact, doubt = _exact(output, readers, matrix, columns, row, first, width)
        stored = doubles(read_elements(reader, tensor, first, width), output.dtype)
        both = np.isfinite(exact) | ~((stored == exact) | (np.isnan(stored) & np.isnan(exact)))
        exact, stored, doubt = exact[both], stored[both], doubt[both]  # an infinity of the base stays one
        apart, allowed = np.abs(stored - exact), _unit(exact, output.dtype) / 2 + doubt
        if not bool(np.all(apart <= allowed)):
            raise AuditError(f"{output.name}, row {row}: is not what float64 gives; please report this")
        rows, count = rows + 1, count + width
        worst = max(worst, float(np.max(apart / allowed, initial=0.0)))
    return Checked(rows, count, worst)


def _sample(output: Output) -> Iterator[tuple[int, int, int]]:
    """Yield rows: number, first element, number of elements. The name of the tensor chooses all but the two ends."""
    from blake3 import blake3

    rows, width = output.shape[0] if output.shape else 1, prod(output.shape[1:])
    if not rows * width:
        return
    seed = blake3(output.name.encode()).digest(8 * ROWS)
    chosen = {0, rows - 1, *(int.from_bytes(seed[8 * i : 8 * i + 8], "big") % rows for i in range(ROWS - 2))}
    for row in sorted(chosen):
        yield row, row * width, min(width, _MOST_VALUES) if output.update is None else width


def _unit(values: Doubles, dtype: str) -> Doubles:
    """The distance of neighbouring numbers of a type at each value."""
    powers = np.exp2(np.floor(np.log2(np.maximum(np.abs(values), 1e-300))))
    unit: Doubles = np.maximum(powers * _ULP[dtype], _SMALLEST[dtype])
    return unit


def _exact(
    output: Output,
    readers: Readers,
    matrix: Doubles | None,
    columns: tuple[Doubles, Doubles] | None,
    row: int,
    first: int,
    width: int,
) -> tuple[Doubles, Doubles]:
    """What the values of a row are in float64, and how far float32 may be from that before it is rounded."""
    if output.saved is not None:
        return doubles(read_elements(readers.adapter, output.saved, first, width), output.saved.dtype), np.zeros(width)
    source = output.source
    weight = doubles(read_elements(readers.base[output.shard.name], source, first, width), source.dtype)
    update = output.update
    if update is None or matrix is None:
        return weight, np.zeros(width)
    if update.transposed:
        column, terms = _column(readers.adapter, update.a, row), "r,cr->c"
    else:
        data = read_elements(readers.adapter, update.b, row * update.rank, update.rank)
        column, terms = doubles(data, update.b.dtype), "r,rc->c"
    added = np.einsum(terms, column, matrix) * update.scaling
    bound = np.einsum(terms, np.abs(column), np.abs(matrix)) * abs(update.scaling)
    exact = weight + added
    doubt = _EPS * ((update.rank + 2) * bound + np.abs(exact) + np.abs(weight))
    if columns is not None:
        factors, relative = columns
        return exact * factors, doubt * np.abs(factors) + np.abs(exact * factors) * relative
    if update.embedding and output.dtype == source.dtype:
        doubt = doubt + np.abs(added) * _ULP[source.dtype] + _SMALLEST[source.dtype]
    if update.magnitude is not None:
        norm = float(np.sqrt(np.sum(exact * exact)))
        size = float(doubles(read_elements(readers.adapter, update.magnitude, row, 1), update.magnitude.dtype)[0])
        factor = size / norm
        unsure = _EPS * (width / 8 + 16) + float(np.sqrt(np.sum(doubt * doubt))) / norm
        doubt = doubt * abs(factor) + np.abs(exact * factor) * unsure
        exact = exact * factor
    return exact, doubt


def _columns(output: Output, readers: Readers, matrix: Doubles) -> tuple[Doubles, Doubles] | None:
    """Magnitude over norm of each column, and how far float32 may be from that, relative; None if there is no such.

    A sum of n squares in float32, one after the other, may be off by n halves of a unit: the norm by half of that.
    """
    update, source = output.update, output.source
    if update is None or update.magnitude is None or not update.transposed:
        return None
    rows, columns = output.shape
    squares, doubts = np.zeros(columns), np.zeros(columns)
    left = _matrix(readers.adapter, update.a)
    step = max(1, _MOST_VALUES // max(1, columns))
    for begin in range(0, rows, step):
        end = min(rows, begin + step)
        data = read_elements(readers.base[output.shard.name], source, begin * columns, (end - begin) * columns)
        weight = doubles(data, source.dtype).reshape(end - begin, columns)
        part = left[:, begin:end]
        exact = weight + np.einsum("rn,cr->nc", part, matrix) * update.scaling
        bound = np.abs(part).T @ np.abs(matrix).T * abs(update.scaling)
        doubt = _EPS * ((update.rank + 2) * bound + np.abs(exact) + np.abs(weight))
        squares += np.sum(exact * exact, axis=0)
        doubts += np.sum(doubt * doubt, axis=0)
    norms = np.sqrt(squares)
    magnitude = doubles(read_elements(readers.adapter, update.magnitude, 0, columns), update.magnitude.dtype)
    with np.errstate(all="ignore"):  # a column of zeros
        return magnitude / norms, _EPS * (rows / 4 + 16) + np.sqrt(doubts) / norms


def _column(reader: RangeReader, tensor: Tensor, column: int) -> Doubles:
    """One column of a matrix, element by element."""
    rows, columns = tensor.shape
    read = (read_elements(reader, tensor, row * columns + column, 1) for row in range(rows))
    return doubles(b"".join(read), tensor.dtype)


def _matrix(reader: RangeReader, tensor: Tensor) -> Doubles:
    """All of a matrix; that of a convolution has the kernel in its columns."""
    values = doubles(read_elements(reader, tensor, 0, prod(tensor.shape)), tensor.dtype)
    return values.reshape(tensor.shape[0], prod(tensor.shape[1:]))


def doubles(data: bytes, dtype: str) -> Doubles:
    """Return F32, BF16 or F16 elements in float64, from sign, exponent and fraction: not as the merge reads them."""
    if dtype == "F32":
        with np.errstate(invalid="ignore"):  # a signalling NaN
            return np.frombuffer(data, "<f4").astype(np.float64)
    bits = np.frombuffer(data, "<u2").astype(np.int64)
    width = 7 if dtype == "BF16" else 10
    bias = 127 if dtype == "BF16" else 15
    exponent, fraction = (bits & 0x7FFF) >> width, bits & ((1 << width) - 1)
    significand = np.where(exponent > 0, fraction + (1 << width), fraction)
    scale = np.maximum(exponent, 1) - bias - width
    values: Any = np.ldexp(significand.astype(np.float64), scale.astype(np.int32))
    values = np.where(exponent == (0xFF if dtype == "BF16" else 0x1F), np.inf, values)
    signed: Doubles = np.where(bits >> 15, -values, values)
    return signed
