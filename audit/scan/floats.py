"""Non-finite values, sign and largest magnitude of floating-point values, from two integer maxima.

Read as a signed integer, the largest of the non-negative floats is the largest integer; read as an unsigned one, the
negative float of largest magnitude is. Both maxima run at the speed of memory, and together they show exactly whether
there is a NaN or an infinity: these have the largest magnitudes of all.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


class Format(NamedTuple):
    """A floating-point format and, as bit patterns, its first magnitude that is not finite and its first NaN."""

    itemsize: int
    nonfinite: int
    nan: int

    @property
    def sign(self) -> int:
        """The sign bit."""
        return 1 << (8 * self.itemsize - 1)


# F8_E4M3 is the variant without infinities (OCP 8-bit floating point specification 1.0): all ones is the one NaN.
FORMATS = {
    "F64": Format(8, 0x7FF0_0000_0000_0000, 0x7FF0_0000_0000_0001),
    "F32": Format(4, 0x7F80_0000, 0x7F80_0001),
    "F16": Format(2, 0x7C00, 0x7C01),
    "BF16": Format(2, 0x7F80, 0x7F81),
    "F8_E5M2": Format(1, 0x7C, 0x7D),
    "F8_E4M3": Format(1, 0x7F, 0x7F),
}


class Views(NamedTuple):
    """The same bytes as signed and as unsigned integers."""

    signed: npt.NDArray[Any]
    unsigned: npt.NDArray[Any]


def views(data: Bytes, itemsize: int) -> Views:
    """Return ``data`` as integers of ``itemsize`` bytes, without an incomplete one at its end."""
    whole = data[: len(data) // itemsize * itemsize]
    return Views(whole.view(f"<i{itemsize}"), whole.view(f"<u{itemsize}"))


class Extent(NamedTuple):
    """Summary of the values of a part; ``peak`` is the bit pattern of the largest finite magnitude."""

    nonfinite: bool
    negative: bool
    peak: int


def extents(data: Views, form: Format, bounds: list[int]) -> list[Extent]:
    """Return the extent of each part of ``data``: ``bounds`` are first, end, first, end, ... in values.

    The parts are sorted, do not overlap and none is empty.
    """
    if len(bounds) == 2:
        first, end = bounds
        highest = [int(np.maximum.reduce(data.signed[first:end]))]
        lowest = [int(np.maximum.reduce(data.unsigned[first:end]))]
    else:
        # One call for all parts; what is between two of them is reduced as well and left out ([::2]).
        end = bounds[-1]
        edges = bounds[:-1]
        highest = np.maximum.reduceat(data.signed[:end], edges)[::2].tolist()
        lowest = np.maximum.reduceat(data.unsigned[:end], edges)[::2].tolist()
    sign, limit = form.sign, form.nonfinite
    found = []
    for i, (high, low) in enumerate(zip(highest, lowest, strict=True)):
        if high >= limit or low >= sign + limit:
            found.append(_exact(data.unsigned[bounds[2 * i] : bounds[2 * i + 1]], form))
        else:
            found.append(Extent(False, low > sign, max(high, low - sign, 0)))
    return found


def _exact(values: npt.NDArray[Any], form: Format) -> Extent:
    """The extent of values if some are not finite and hide the others from the maxima."""
    magnitudes = values & values.dtype.type(form.sign - 1)
    negative = (values > form.sign) & (magnitudes < form.nan)
    finite = magnitudes[magnitudes < form.nonfinite]
    return Extent(True, bool(negative.any()), int(finite.max(initial=0)))


def to_float(dtype: str, bits: int) -> float:
    """Return the value of a finite magnitude's bit pattern."""
    if dtype == "BF16":
        return float(np.uint32(bits << 16).view(np.float32))
    if dtype == "F8_E5M2":
        return float(np.uint16(bits << 8).view(np.float16))
    if dtype == "F8_E4M3":
        exponent, mantissa = bits >> 3, bits & 7
        return (8 + mantissa) * 2.0 ** (exponent - 10) if exponent else mantissa * 2.0**-9
    if dtype == "F16":
        return float(np.uint16(bits).view(np.float16))
    return float(np.uint32(bits).view(np.float32) if dtype == "F32" else np.uint64(bits).view(np.float64))
