"""Types and sums, to the bit. Against torch and peft: tests/backends/hf_trainer/test_merge.py."""

from struct import pack, unpack

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.merging.arithmetic import decoded, encoded, merged, norms, product, rounded, with_squares

FLOATS = st.floats(width=32, allow_nan=False)


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_every_number_of_a_short_type_survives(dtype: str) -> None:
    data = np.arange(1 << 16, dtype="<u2")
    with np.errstate(invalid="ignore"):
        values = decoded(data.tobytes(), dtype)
        back = encoded(values, dtype).view("<u2")
    number = ~np.isnan(values)
    assert np.array_equal(back[number], data[number])
    assert np.isnan(decoded(back.tobytes(), dtype)[~number]).all()


@given(FLOATS)
def test_bfloat16_is_the_nearest_and_of_two_the_even_one(value: float) -> None:
    bits = unpack("<I", pack("<f", value))[0]
    below, above = bits & 0xFFFF0000, (bits & 0xFFFF0000) + 0x10000
    middle = below + 0x8000
    wanted = above if bits > middle or (bits == middle and below & 0x10000) else below
    assert int(encoded(np.array([value], np.float32), "BF16")[0]) == wanted >> 16


def test_rounding_keeps_the_shape() -> None:
    values = np.array([[1.0, 1.0 + 2.0**-20], [3.0, -1e-3]], np.float32)
    assert rounded(values, "BF16").shape == (2, 2)
    assert rounded(values, "BF16")[0, 1] == 1.0
    assert rounded(values, "F32") is values


@pytest.mark.parametrize("rank", [1, 4, 192, 193, 256, 384, 500])
def test_a_product_is_right_at_every_rank(rank: int) -> None:
    chance = np.random.default_rng(rank)
    b, a = (chance.standard_normal(shape, np.float32) for shape in ((24, rank), (rank, 40)))
    exact = b.astype(np.float64) @ a.astype(np.float64)
    assert np.abs(product(b, a) - exact).max() < 1e-6 * rank


@pytest.mark.parametrize("width", [1, 5, 8, 15, 64, 100])
def test_norms_are_right_at_every_width(width: int) -> None:
    rows = np.random.default_rng(width).standard_normal((7, width), np.float32)
    exact = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1))
    assert np.allclose(norms(rows), exact, rtol=1e-6)


def test_dora_gives_each_row_its_magnitude() -> None:
    chance = np.random.default_rng(0)
    weight, b, a = (chance.standard_normal(shape, np.float32) for shape in ((6, 16), (6, 4), (4, 16)))
    magnitude = np.arange(1, 7, dtype=np.float32)

    total, update = merged(weight, b, a, 0.5, magnitude=magnitude)

    assert np.allclose(norms(total), magnitude, rtol=1e-5)
    assert np.array_equal(total - weight, update)


@pytest.mark.parametrize("step", [1, 7, 40])
def test_squares_are_added_row_by_row_in_whatever_blocks(step: int) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    wanted = sums = np.zeros(5, np.float32)
    for row in rows:
        wanted = wanted + row * row
    for begin in range(0, 40, step):
        sums = with_squares(sums, rows[begin : begin + step])
    assert np.array_equal(sums, wanted)


def test_dora_may_scale_columns() -> None:
    chance = np.random.default_rng(0)
    weight, b, a = (chance.normal(size=size).astype(np.float32) for size in ((6, 3), (6, 2), (2, 3)))
    factor = np.array([1, 2, 4], np.float32)
    plain, _ = merged(weight, b, a, 0.5)
    total, update = merged(weight, b, a, 0.5, factor=factor)
    assert np.array_equal(total, plain * factor)
    assert np.array_equal(update, total - weight)


def test_an_update_may_be_rounded_before_it_is_added() -> None:
    weight, b, a = np.zeros((1, 1), np.float32), np.array([[1 + 2.0**-12]], np.float32), np.ones((1, 1), np.float32)
    assert merged(weight, b, a, 1.0)[0][0, 0] != 1.0
    assert merged(weight, b, a, 1.0, update_as="BF16")[0][0, 0] == 1.0
