"""The arithmetic of a merge, in the order of operations of peft on a CPU, so that the bits are the same.

peft keeps the matrices in float32, multiplies them there, scales the product, adds it and rounds once
(``tuners/lora/layer.py``, ``Linear.merge``). The update of an embedding is rounded to the type of the base before it is
added (``Embedding.merge``). That of a convolution is made by a convolution of the two (``_ConvNd.get_delta_weight``),
which adds over the rank as a product of matrices does. With DoRA the rows are scaled by magnitude over norm
(``tuners/lora/variants.py``), those of an embedding or a Conv1D column by column.

Where the order of a sum decides about the last bit, it is that of torch 2.13 with MKL on x86-64, measured: see
:func:`product` and :func:`norms`. Another order would be as right, and differ from peft in the last bit of a float32.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

LANES = 8
"""Partial sums of a norm: the floats in a vector of torch's kernel, also where the processor has longer ones."""

_WHOLE = 192
"""Ranks up to this are summed in one go by MKL on every processor that was tried, larger ones on some; OpenBLAS sums
all of them so in blocks of at least 320."""


def decoded(data: "memoryview | bytes | bytearray", dtype: str) -> Floats:
    """Return F32, BF16 or F16 elements as float32, which holds each of them exactly."""
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, "<f4" if dtype == "F32" else "<f2").astype(np.float32)


def encoded(values: Floats, dtype: str) -> npt.NDArray[Any]:
    """Return float32 values as F32, BF16 or F16, rounded to the nearest, ties to even."""
    if dtype == "F32":
        return values
    if dtype == "F16":
        with np.errstate(over="ignore"):
            return values.astype("<f2")
    bits = values.view(np.uint32)
    rounded = ((bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16).astype("<u2")
    nan = np.isnan(values)
    if nan.any():
        rounded[nan] = 0x7FC0
    return rounded


def rounded(values: Floats, dtype: str) -> Floats:
    """Return float32 values that are values of another type, too."""
    return values if dtype == "F32" else decoded(encoded(values, dtype).tobytes(), dtype).reshape(values.shape)


def product(b: Floats, a: Floats) -> Floats:
    """Return ``b @ a``; each element is a sum over the rank in the order of MKL."""
    rank = a.shape[0]
    step = rank if rank <= _WHOLE else rank // 2 if rank < 2 * _WHOLE else _WHOLE
    found = b[:, :step] @ a[:step]
    for begin in range(step, rank, step):
        found += b[:, begin : begin + step] @ a[begin : begin + step]
    return found


def norms(rows: Floats) -> Floats:
    """Return the Euclidean norm of each row, summed as ``torch.linalg.norm`` does on x86-64.

    The kernel adds squares into LANES sums and these from the first to the last; of what is left over, four are added
    one by one, the others with a fused multiply-add.
    """
    count, width = rows.shape
    whole = width // LANES * LANES
    sums = np.add.reduce(np.square(rows[:, :whole]).reshape(count, whole // LANES, LANES), axis=1)
    found = sums[:, 0].copy()
    for lane in range(1, LANES):
        found += sums[:, lane]
    fused = whole + (width - whole) // 4 * 4
    for column in range(whole, fused):
        found += np.square(rows[:, column])
    for column in range(fused, width):
        found = (np.square(rows[:, column].astype(np.float64)) + found).astype(np.float32)
    result: Floats = np.sqrt(found)
    return result


def updated(weight: Floats, b: Floats, a: Floats, scaling: float, update_as: str = "F32") -> tuple[Floats, Floats]:
    """Return rows of the weight with their update, and the update, both in float32 and not yet rounded.

    ``weight`` is rows x columns, ``b`` rows x rank, ``a`` rank x columns. ``update_as`` is the type that the update is
    rounded to first.
    """
    update = product(b, a)
    update *= np.float32(scaling)
    if update_as != "F32":
        update = rounded(update, update_as)
    return weight + update, update


def with_squares(sums: Floats, rows: Floats) -> Floats:
    """Return the sums of squares of each column with those of more rows, which are added one after the other.

    That is the order of ``torch.linalg.norm`` over the columns of a tensor that is stored row by row.
    """
    found: Floats = np.add.reduce(np.concatenate([sums[None], np.square(rows)]), axis=0)
    return found


def merged(
    weight: Floats,
    b: Floats,
    a: Floats,
    scaling: float,
    *,
    magnitude: Floats | None = None,
    update_as: str = "F32",
    factor: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Return rows of the merged weight and their update; the first five as in :func:`updated`.

    With DoRA, ``magnitude`` has one value for each row. Where the norms are those of columns, ``factor`` has for each
    column magnitude over norm instead.
    """
    total, update = updated(weight, b, a, scaling, update_as)
    if magnitude is not None:
        total *= (magnitude / norms(total))[:, None]
    elif factor is not None:
        total *= factor[None, :]
    else:
        return total, update
    return total, total - weight
