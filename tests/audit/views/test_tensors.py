"""Tensors that are stored in their files in unusual ways."""

from math import prod
from pathlib import Path
from struct import pack

import pytest

from audit.manager import load
from audit.testing.runs import make_run
from audit.testing.torch_files import FakeTensor, torch_archive_bytes
from audit.views.comparison import Comparison, compare, open_checkpoint
from audit.views.summary import details
from audit.views.tensors import _order
from tests.zero import SHAPES, make_zero


def compared(a: Path, b: Path) -> Comparison:
    backends = load().backends
    return compare(open_checkpoint(str(a), backends), open_checkpoint(str(b), backends))


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


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_partitions_of_zero_are_put_together(tmp_path: Path, stage: int) -> None:
    """Every stage cuts the same weights in another way, and the same elements are found to be the same."""
    plain, other = make_zero(tmp_path / "plain", (100,)), make_zero(tmp_path / "other", (100, 200), stage=stage)

    found = compared(plain / "checkpoint-100", other / "checkpoint-100")
    assert (found.tensors, found.same_tensors, found.sharded, found.troubles) == ((), len(SHAPES), False, ())

    found = compared(plain / "checkpoint-100", other / "checkpoint-200")
    assert {item.name: (item.shape[0], item.elements, item.changed) for item in found.tensors} == {
        name: (shape, prod(shape), prod(shape)) for name, shape in SHAPES.items()
    }


def test_partitions_that_do_not_fit_are_compared_as_files(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run")
    (run / "checkpoint-200" / "global_step200" / "zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()

    found = compared(run / "checkpoint-100", run / "checkpoint-200")

    assert found.sharded
    assert (found.tensors, found.troubles) == ((), ())


def test_show_says_what_the_partitions_hold(tmp_path: Path) -> None:
    shown = details(open_checkpoint(str(make_zero(tmp_path / "run", stage=3)), load().backends))["DeepSpeed"]

    wanted = {"ZeRO stage": 3, "processes": 2, "parameters": 6, "elements": 101, "global_steps": 200}
    assert wanted.items() <= shown.items()
