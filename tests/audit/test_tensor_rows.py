"""Rows of zeros against a search by numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import tensor_rows
from audit.formats.tensors import Tensor
from audit.storage import BytesReader
from audit.tensor_rows import ZeroRows, zero_rows

SIZES = {"F32": 4, "F16": 2, "BF16": 2}


def place(rows: list[bytes], dtype: str, shape: tuple[int, ...], before: bytes = b"head") -> tuple[BytesReader, Tensor]:
    data = b"".join(rows)
    return BytesReader(before + data + b"tail"), Tensor("lora_B", dtype, shape, len(before), len(data))


@given(st.data(), st.sampled_from(sorted(SIZES)), st.integers(1, 9), st.sampled_from([8, 16, 40, 1 << 20]))
def test_zero_rows_are_those_whose_values_are_all_zero(
    data: st.DataObject, dtype: str, columns: int, block: int
) -> None:
    size = SIZES[dtype]
    minus_zero = b"\0" * (size - 1) + b"\x80"
    value = st.sampled_from([bytes(size), bytes(size), minus_zero, b"\x01" + bytes(size - 1), b"\xff" * size])
    row = st.one_of(st.just(bytes(size * columns)), st.lists(value, min_size=columns, max_size=columns).map(b"".join))
    rows = data.draw(st.lists(row, min_size=1, max_size=20))
    reader, tensor = place(rows, dtype, (len(rows), columns))
    zero = [i for i, content in enumerate(rows) if not any(content.replace(minus_zero, bytes(size)))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensor_rows, "BLOCK", block)
        found = zero_rows(reader, tensor)
    assert found == ZeroRows(len(rows), len(zero), zero[0] if zero else -1, zero[-1] if zero else -1)
    assert found.share == len(zero) / len(rows)
    assert found.contiguous == (bool(zero) and zero == list(range(zero[0], zero[-1] + 1)))


def test_a_slice_of_zero_rows_in_a_large_matrix_is_one_block() -> None:
    values = np.random.default_rng(1).standard_normal((4096, 160)).astype("<f4")
    values[1000:3000] = 0
    reader, tensor = place([values.tobytes()], "F32", (4096, 160))
    found = zero_rows(reader, tensor)
    assert found == ZeroRows(4096, 2000, 1000, 2999)
    assert found.contiguous


@pytest.mark.parametrize(
    ("dtype", "shape", "nbytes"),
    [
        ("I32", (2, 2), 16),
        ("F32", (), 4),
        ("F32", (0, 4), 0),
        ("F32", (4, 0), 0),
        ("F32", (2, 3), 16),
        ("F32", (-2, -2), 16),
        ("F32", (2, 20), 160),
    ],
)
def test_what_holds_no_countable_rows_gives_none(dtype: str, shape: tuple[int, ...], nbytes: int) -> None:
    assert zero_rows(BytesReader(bytes(100)), Tensor("lora_B", dtype, shape, 0, nbytes)) is None


def test_a_convolution_counts_rows_of_its_first_dimension() -> None:
    values = np.ones((6, 2, 3, 3), "<f2")
    values[4:] = 0
    reader, tensor = place([values.tobytes()], "F16", (6, 2, 3, 3))
    assert zero_rows(reader, tensor) == ZeroRows(6, 2, 4, 5)
