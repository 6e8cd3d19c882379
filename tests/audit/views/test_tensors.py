"""Tensors that are stored in their files in unusual ways."""

from pathlib import Path
from struct import pack

import pytest

from audit.manager import load
from audit.testing.runs import make_run
from audit.testing.torch_files import FakeTensor, torch_archive_bytes
from audit.views.comparison import compare, open_checkpoint
from audit.views.tensors import _order


@pytest.mark.parametrize(
    ("shape", "stride", "expected"),
    [((2, 3), (3, 1), ()), ((2, 3), (1, 2), (1, 2)), ((), (), ()), ((1, 3), (99, 1), ()), ((4, 1, 2), (2, 7, 1), ())],
)
def test_the_order_of_elements(shape: tuple[int, ...], stride: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert _order(shape, stride) == expected


def pair(tmp_path: Path, a: dict[str, FakeTensor], b: dict[str, FakeTensor]) -> tuple[str, str]:
    paths = []
    for name, tensors in (("a", a), ("b", b)):
        run = make_run(tmp_path / name, (100,))
        Path(run, "checkpoint-100", "adapter_model.safetensors").unlink()
        Path(run, "checkpoint-100", "adapter_model.bin").write_bytes(torch_archive_bytes(tensors))
        paths.append(f"{run}/checkpoint-100")
    return paths[0], paths[1]


def swap(path: str, old: bytes, new: bytes) -> None:
    """Change the pickle of an archive in place, and its checksum does not matter here."""
    file = Path(path, "adapter_model.bin")
    data = file.read_bytes()
    assert data.count(old) == 1
    file.write_bytes(data.replace(old, new))


def test_transposed_tensors_are_compared_with_their_like_only(tmp_path: Path) -> None:
    data = pack("<6f", *range(6))
    one = FakeTensor("F32", (2, 3), data)
    a, b = pair(tmp_path, {"x": one}, {"x": one._replace(data=data[:-4] + pack("<f", 6.0))})
    backends = load().backends
    # K\x03K\x01 are the strides of a contiguous tensor; K\x01K\x02 those of a transposed one.
    swap(b, b"K\x03K\x01\x86", b"K\x01K\x02\x86")
    found = compare(open_checkpoint(a, backends), open_checkpoint(b, backends))
    assert (found.tensors, found.same_tensors) == ((), 0)
    assert found.troubles == ("x: its elements are stored in different or unusual orders; not compared",)
    swap(a, b"K\x03K\x01\x86", b"K\x01K\x02\x86")
    found = compare(open_checkpoint(a, backends), open_checkpoint(b, backends))
    assert [(item.max_abs, item.changed) for item in found.tensors] == [(1.0, 1)]


def test_a_tensor_that_repeats_one_element_a_billion_times_is_not_unrolled(tmp_path: Path) -> None:
    data = pack("<6f", *range(6))
    one = FakeTensor("F32", (2, 3), data)
    a, b = pair(tmp_path, {"x": one}, {"x": one._replace(data=data[::-1])})
    for path in (a, b):
        swap(path, b"K\x03K\x01\x86", b"K\x00K\x00\x86")
    backends = load().backends
    found = compare(open_checkpoint(a, backends), open_checkpoint(b, backends))
    assert (found.tensors, found.same_tensors) == ((), 0)
    assert found.troubles == ("x: its elements are stored in different or unusual orders; not compared",)
