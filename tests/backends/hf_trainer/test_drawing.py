"""What a collator draws depends on the batch alone, and leaves the generators of the model as they were."""

import pickle
import random
from typing import Any

import pytest

pytest.importorskip("torch", reason="the extra hf is not installed")
pytest.importorskip("numpy", reason="the extra hf is not installed")

import numpy as np
import torch

from audit_hf_trainer.training.drawing import Steady, draws


def drawn(rows: Any) -> tuple[Any, ...]:
    return rows, random.random(), np.random.rand(), torch.rand(1).item()


def begin() -> None:
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)


def test_a_batch_draws_the_same_wherever_training_began() -> None:
    straight, later, other = Steady(drawn, 7, 0), Steady(drawn, 7, 2), Steady(drawn, 8, 2)
    told = [straight("rows") for _ in range(4)]
    assert [later("rows"), later("rows")] == told[2:]
    assert len({item[position] for item in told for position in (1, 2, 3)}) == 12
    assert other("rows") != told[2]


def test_the_generators_are_as_before() -> None:
    begin()
    expected = drawn(None)
    begin()
    Steady(drawn, 7, 0)("rows")
    with pytest.raises(ZeroDivisionError):
        Steady(lambda rows: drawn(rows)[0] / 0, 7, 0)(1)
    assert drawn(None) == expected


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_draw_what_one_process_does(workers: int) -> None:
    def batches(**more: Any) -> list[Any]:
        collate = Steady(lambda rows: (rows, torch.rand(1).item(), random.random()), 7, 5)
        return list(torch.utils.data.DataLoader(range(8), batch_size=2, collate_fn=collate, **more))

    assert batches(num_workers=workers) == batches()


def test_it_goes_to_spawned_workers() -> None:
    there = pickle.loads(pickle.dumps(Steady(drawn, 7, 2)))
    assert there("rows") == Steady(drawn, 7, 2)("rows")


def test_what_draws_is_found_out() -> None:
    before = drawn(None)
    assert [draws(random.random), draws(np.random.rand), draws(lambda: torch.rand(1))] == [True] * 3
    assert not draws(lambda: [1, 2][0])
    assert before != drawn(None)
