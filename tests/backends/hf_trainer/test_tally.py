"""What a process holds of a tensor is compared block by block, as one value."""

from collections.abc import Callable
from itertools import product
from math import prod

import pytest

pytest.importorskip("torch", reason="the extra hf is not installed")

import torch

from audit.plugin import WEIGHTS_PART, StoredTensor
from audit.storage import BytesReader
from audit_hf_trainer.training import tally as module
from audit_hf_trainer.training.divided import runs
from audit_hf_trainer.training.tally import Tally, reading


def compared(saved: list[float], held: list[float], at: list[tuple[int, int, int]] | None = None) -> Tally:
    file = torch.tensor(saved)
    found = Tally(WEIGHTS_PART)
    found.pieces("w", lambda start, count: file[start : start + count], torch.tensor(held), at or [(0, 0, len(saved))])
    return found


def test_the_same_is_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 2)
    assert compared([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).result()[1:4] == (1, 0, None)
    assert compared([1.0, 2.0, 3.0], [3.0, 1.0], [(2, 0, 1), (0, 1, 1)]).result()[1:4] == (1, 0, None)
    assert compared([float("nan"), 2.0], [float("nan"), 2.0]).result().different == 0


def test_a_difference_in_a_later_block_is_one_value_that_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 2)
    found = compared([1.0, 2.0, 4.0], [1.0, 2.0, 3.0]).result()
    assert found[1:] == (1, 1, "w", 0.25, None)


def test_of_nothing_there_is_no_value() -> None:
    assert compared([], [], [(0, 0, 0)]).result().missed == "there is nothing to compare"


def test_a_process_that_holds_fewer_elements_differs() -> None:
    assert compared([1.0, 2.0], [1.0]).result().different == 1


def test_what_cannot_be_read_is_said_and_is_no_difference() -> None:
    def cut(start: int, count: int) -> "torch.Tensor":
        raise OSError(5, "gone")

    found = Tally(WEIGHTS_PART)
    found.pieces("w", cut, torch.zeros(2), [(0, 0, 2)])
    found.pieces("v", lambda start, count: torch.zeros(count), torch.zeros(2), [(0, 0, 2)])
    assert found.result()[1:] == (1, 0, None, None, "1 tensor could not be read, the first is w: gone")


@pytest.mark.parametrize(
    ("code", "kind"), [("F32", "float32"), ("BF16", "bfloat16"), ("F16", "float16"), ("I64", "int64")]
)
def test_elements_of_the_file_are_those_that_were_saved(code: str, kind: str) -> None:
    values = torch.tensor([1, 2, -3, 4]).to(getattr(torch, kind))
    data = b"head" + bytes(values.view(torch.uint8).numpy())
    tensor = StoredTensor(code, (4,), lambda: (BytesReader(data), 4))
    assert torch.equal(reading(tensor)(1, 2), values[1:3])


@pytest.mark.parametrize("shape", [(), (5,), (4, 3), (2, 3, 4)])
def test_the_runs_of_a_box_are_its_elements(shape: tuple[int, ...]) -> None:
    whole = torch.arange(prod(shape)).reshape(shape)
    bounds: Callable[[int], list[tuple[int, int]]] = lambda size: [  # noqa: E731
        (a, b) for a in range(size) for b in range(a, size + 1)
    ]
    for box in product(*map(bounds, shape)):
        part = whole[tuple(slice(a, b) for a, b in box)]
        offsets, sizes = tuple(a for a, _ in box), tuple(b - a for a, b in box)
        flat = torch.full((part.numel(),), -1)
        for start, at, count in runs(shape, offsets, sizes):
            flat[at : at + count] = whole.reshape(-1)[start : start + count]
        assert torch.equal(flat, part.reshape(-1))
