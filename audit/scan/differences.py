"""How two tensors differ, read block by block: how many elements, the largest difference, the relative norm."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from audit.scan.floats import to_float
from audit.storage import RangeReader

ELEMENTS = 1 << 18
"""Elements that are compared at a time: 2 MiB as float64, which fit into the second-level cache."""

BYTES = 1 << 20

_PLAIN = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
    "U16": "<u2", "U32": "<u4", "U64": "<u8", "BOOL": "u1",
}  # fmt: skip
_SIZES = {"BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1} | {code: np.dtype(name).itemsize for code, name in _PLAIN.items()}

Floats = npt.NDArray[np.float64]


class Part(NamedTuple):
    """Where a tensor is: ``dtype`` is a safetensors code, the elements follow each other from ``offset``."""

    reader: RangeReader
    dtype: str
    offset: int
    nbytes: int


class Distance(NamedTuple):
    """How two tensors of one shape differ; the numbers are None for types without numeric values.

    ``changed`` elements are not the same (bit for bit if both have one type), ``nonfinite`` of them are a NaN or an
    infinity on one side and are left out of the other two. ``max_abs`` is the largest ``|b - a|``; ``relative_l2`` is
    the norm of ``b - a`` over that of ``a``, None if ``a`` is all zero.
    """

    changed: int | None
    max_abs: float | None
    relative_l2: float | None
    nonfinite: int


def same_bytes(first: RangeReader, second: RangeReader, start: int, other: int, length: int) -> bool:
    """Return whether ``length`` bytes from ``start`` and ``other`` are the same. Raises OSError if one is truncated."""
    done = 0
    while done < length:
        count = min(BYTES, length - done)
        if _read(first, start + done, count) != _read(second, other + done, count):
            return False
        done += count
    return True


def distance(first: Part, second: Part, elements: int) -> Distance | None:
    """Return how two tensors of ``elements`` elements differ, None if they do not.

    Raises OSError if one is truncated.
    """
    one_type = first.dtype == second.dtype
    if one_type and same_bytes(first.reader, second.reader, first.offset, second.offset, first.nbytes):
        return None
    if first.dtype not in _SIZES or second.dtype not in _SIZES:
        return Distance(None, None, None, 0)
    changed, nonfinite, largest, squares, norm = 0, 0, 0.0, 0.0, 0.0
    for start in range(0, elements, ELEMENTS):
        count = min(ELEMENTS, elements - start)
        raw, other = _block(first, start, count), _block(second, start, count)
        a, b = _values(raw, first.dtype), _values(other, second.dtype)
        with np.errstate(all="ignore"):
            apart = b - a
            differ = _bits(raw, first.dtype) != _bits(other, second.dtype) if one_type else _unequal(a, b)
            finite = np.isfinite(a) & np.isfinite(b)
            changed += int(np.count_nonzero(differ))
            if not finite.all():
                nonfinite += int(np.count_nonzero(differ & ~finite))
                apart, a = np.where(finite, apart, 0.0), np.where(np.isfinite(a), a, 0.0)
            largest = max(largest, float(np.abs(apart).max(initial=0.0)))
            squares += float(np.dot(apart, apart))
            norm += float(np.dot(a, a))
    if not changed:
        return None
    relative = float(np.sqrt(squares) / np.sqrt(norm)) if norm else None
    return Distance(changed, largest, relative, nonfinite)


def first_values(part: Part, count: int) -> Floats | None:
    """Return the first ``count`` elements, None for types that are no numbers. Raises OSError if the file is cut."""
    return _values(_block(part, 0, count), part.dtype) if part.dtype in _SIZES else None


def _unequal(a: Floats, b: Floats) -> npt.NDArray[np.bool_]:
    unequal: npt.NDArray[np.bool_] = (a != b) & ~(np.isnan(a) & np.isnan(b))
    return unequal


def _block(part: Part, start: int, count: int) -> bytes:
    size = _SIZES[part.dtype]
    return _read(part.reader, part.offset + start * size, count * size)


def _read(reader: RangeReader, offset: int, count: int) -> bytes:
    data = reader.read(offset, count)
    if len(data) < count:
        raise OSError(0, "became shorter while it was read")
    return data


def _bits(raw: bytes, dtype: str) -> npt.NDArray[Any]:
    return np.frombuffer(raw, f"<u{_SIZES[dtype]}")


def _values(raw: bytes, dtype: str) -> Floats:
    if dtype == "BF16":
        words = np.frombuffer(raw, "<u2").astype(np.uint32) << np.uint32(16)
        return words.view(np.float32).astype(np.float64)
    if dtype.startswith("F8"):
        return _table(dtype)[np.frombuffer(raw, np.uint8)]
    return np.frombuffer(raw, _PLAIN[dtype]).astype(np.float64)


@cache
def _table(dtype: str) -> Floats:
    """The values of all 256 patterns of an 8-bit format."""
    if dtype == "F8_E5M2":
        return (np.arange(256, dtype=np.uint16) << np.uint16(8)).view(np.float16).astype(np.float64)
    half = np.array([*(to_float(dtype, bits) for bits in range(127)), np.nan])
    return np.concatenate([half, -half])
