"""The proof finds what went wrong between the arithmetic and the disk; what is wrong never becomes OUT."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audit.errors import AuditError
from audit.merging import arithmetic, blocks, weight_files
from audit.merging.merge import Choices, merge
from audit.merging.plan import Output
from audit.merging.proof import doubles
from tests.audit.merging.models import make_merge


@pytest.mark.parametrize(("dtype", "numpy"), [("F32", "<f4"), ("F16", "<f2"), ("BF16", None)])
def test_numbers_are_read_in_another_way_than_they_are_merged_and_are_the_same(dtype: str, numpy: str | None) -> None:
    data = np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8).tobytes()
    with np.errstate(invalid="ignore"):
        wanted = np.frombuffer(data, numpy).astype(np.float64) if numpy else _bfloat16(data)
    number = np.isfinite(wanted)
    assert np.array_equal(doubles(data, dtype)[number], wanted[number])


def _bfloat16(data: bytes) -> Any:
    return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def refused(home: Path, **options: Any) -> str:
    """Merge, which fails, and return why; nothing is left."""
    run, base = make_merge(home)
    with pytest.raises(AuditError) as raised:
        merge(run, str(home / "out"), Choices(base=base, **options))
    assert not os.path.lexists(home / "out")
    assert not os.path.lexists(home / "out.tmp")
    return str(raised.value)


@pytest.mark.parametrize("place", [9, 3000, 9000, -1])
def test_a_byte_that_flips_on_its_way_to_the_disk_is_found(
    place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = weight_files.write_files

    def flipping(*arguments: Any) -> Any:
        found = write(*arguments)
        path = Path(arguments[4], "model.safetensors")
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)
        return found

    monkeypatch.setattr(weight_files, "write_files", flipping)
    assert "model.safetensors" in refused(tmp_path)


def _twice_the_update(merged: Callable[..., Any]) -> Callable[..., Any]:
    return lambda weight, b, a, scaling, **more: merged(weight, b, a, 2 * scaling, **more)


def _cut_off(merged: Callable[..., Any]) -> Callable[..., Any]:
    """Truncate to bfloat16 instead of rounding."""

    def wrong(*arguments: Any, **more: Any) -> Any:
        total, update = merged(*arguments, **more)
        return (total.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32), update

    return wrong


@pytest.mark.parametrize("wrong", [_twice_the_update, _cut_off])
def test_arithmetic_that_is_wrong_is_found(
    wrong: Callable[[Callable[..., Any]], Callable[..., Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "merged", wrong(arithmetic.merged))
    assert "is not what float64 gives" in refused(tmp_path)


def test_a_tensor_in_the_place_of_another_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of k_proj under the name of o_proj: the same type and shape, and written without a fault."""
    make = blocks.blocks

    def mixed(output: Output, readers: Any) -> Any:
        if output.name.endswith("layers.0.self_attn.o_proj.weight"):
            other = next(
                item for item in output.shard.tensors if item.name.endswith("layers.0.self_attn.k_proj.weight")
            )
            for mine, theirs in zip(make(output, readers), make(output._replace(source=other), readers), strict=True):
                yield theirs._replace(read=mine.read)
        else:
            yield from make(output, readers)

    monkeypatch.setattr(weight_files, "blocks", mixed)
    assert "o_proj.weight is not the base's" in refused(tmp_path)


def test_a_conversion_that_is_wrong_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = arithmetic.encoded
    monkeypatch.setattr(blocks, "encoded", lambda values, dtype: encode(values * np.float32(1.01), dtype))
    assert "is not what float64 gives" in refused(tmp_path, dtype="float16")
