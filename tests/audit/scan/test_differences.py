"""How far two tensors lie apart: against the plain formula, over every type and over the seams of blocks."""

import math
from struct import pack

import numpy as np
import pytest

from audit.scan import differences
from audit.scan.differences import Distance, Part, distance, same_bytes
from audit.storage import BytesReader


def part(dtype: str, data: bytes, before: int = 0) -> Part:
    return Part(BytesReader(b"?" * before + data), dtype, before, len(data))


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16"])
@pytest.mark.parametrize("elements", [1, 6, 7, 8, 100])
def test_distances_are_those_of_the_formula(monkeypatch: pytest.MonkeyPatch, dtype: str, elements: int) -> None:
    monkeypatch.setattr(differences, "ELEMENTS", 7)
    kind = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]
    generator = np.random.default_rng(elements)
    a, b = (generator.normal(size=elements).astype(kind) for _ in range(2))
    b[::3] = a[::3]
    found = distance(part(dtype, a.tobytes(), 3), part(dtype, b.tobytes(), 11), elements)
    apart = b.astype(np.float64) - a
    if not apart.any():
        assert found is None
        return
    assert found is not None
    assert found.changed == int((a != b).sum())
    assert found.max_abs == np.abs(apart).max()
    assert found.relative_l2 == pytest.approx(np.linalg.norm(apart) / np.linalg.norm(a.astype(np.float64)), rel=1e-12)


def test_the_same_bytes_are_no_difference_even_where_they_are_no_numbers() -> None:
    nan = pack("<f", math.nan)
    assert distance(part("F32", nan), part("F32", nan), 1) is None
    assert distance(part("C64", b"\1" * 8), part("C64", b"\1" * 8), 1) is None


def test_what_is_no_number_is_counted_apart() -> None:
    a = pack("<4f", 1.0, math.nan, 3.0, math.inf)
    b = pack("<4f", 1.0, 2.0, 3.5, math.inf)
    assert distance(part("F32", a), part("F32", b), 4) == Distance(2, 0.5, math.sqrt(0.25 / 10), 1)


def test_types_without_numbers_are_compared_by_their_bytes() -> None:
    assert distance(part("C64", b"\1" * 8), part("C64", b"\2" * 8), 1) == Distance(None, None, None, 0)


def test_a_first_tensor_of_zeros_gives_no_relative_norm() -> None:
    assert distance(part("F32", bytes(4)), part("F32", pack("<f", 2.0)), 1) == Distance(1, 2.0, None, 0)


@pytest.mark.parametrize(
    ("dtype", "data"),
    [
        ("BF16", b"\xc0\x3f"), ("F16", b"\x00\x3e"), ("F64", pack("<d", 1.5)), ("F8_E5M2", b"\x3e"), ("F8_E4M3", b"\x3c"),
    ],
)  # fmt: skip
def test_one_value_in_two_types_is_no_difference_of_value(dtype: str, data: bytes) -> None:
    assert distance(part("F32", pack("<f", 1.5)), part(dtype, data), 1) is None
    found = distance(part("F32", pack("<f", 1.0)), part(dtype, data), 1)
    assert found == Distance(1, 0.5, 0.5, 0)


def test_negative_values_of_eight_bits() -> None:
    assert distance(part("F8_E4M3", b"\x3c"), part("F8_E4M3", b"\xbc"), 1) == Distance(1, 3.0, 2.0, 0)


def test_integers_beyond_the_precision_of_floats_still_differ() -> None:
    found = distance(part("I64", pack("<q", 2**60)), part("I64", pack("<q", 2**60 + 1)), 1)
    assert found is not None
    assert found.changed == 1


def test_a_file_that_is_cut_meanwhile_is_an_error_of_reading() -> None:
    with pytest.raises(OSError, match="became shorter"):
        distance(part("F32", bytes(4)), Part(BytesReader(b""), "F32", 0, 4), 1)
    with pytest.raises(OSError, match="became shorter"):
        same_bytes(BytesReader(b"ab"), BytesReader(b"abc"), 0, 0, 3)


def test_the_last_byte_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differences, "BYTES", 4)
    assert same_bytes(BytesReader(b"abcdefghi"), BytesReader(b"abcdefghi"), 0, 0, 9)
    assert not same_bytes(BytesReader(b"abcdefghi"), BytesReader(b"abcdefghX"), 0, 0, 9)
