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
from tests.backends.hf_trainer.letters import letters


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


@pytest.mark.parametrize(
    ("own", "draw"),
    [
        (lambda: random.Random(1), lambda own: own.random()),
        (lambda: np.random.default_rng(1), lambda own: own.random()),
        (lambda: np.random.RandomState(1), lambda own: own.rand()),
        (lambda: torch.Generator().manual_seed(1), lambda own: torch.rand(1, generator=own).item()),
    ],
    ids=["random", "numpy", "numpy, old", "torch"],
)
def test_a_generator_that_the_collator_keeps_is_seeded_for_each_batch(own: Any, draw: Any) -> None:
    class Collator:
        def __init__(self) -> None:
            self.own, self.other = own(), "no generator"

        def __call__(self, rows: Any) -> Any:
            return draw(self.own)

    straight, later = Steady(Collator(), 7, 0), Steady(Collator(), 7, 2)
    told = [straight("rows") for _ in range(4)]
    assert [later("rows"), later("rows")] == told[2:]
    assert len(set(told)) == 4


@pytest.mark.parametrize("kind", ["pt", "np"])
def test_a_collator_with_a_seed_masks_the_same_after_a_resume(kind: str) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
    tokenizer = letters()
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    rows = [{"input_ids": list(range(5, 45))} for _ in range(4)]

    def collator() -> Any:
        return transformers.DataCollatorForLanguageModeling(tokenizer, seed=3, return_tensors=kind)

    given = collator()
    straight, later = Steady(given, 7, 0), Steady(collator(), 7, 2)
    told = [straight(rows)["input_ids"].tolist() for _ in range(3)]
    assert later(rows)["input_ids"].tolist() == told[2] != told[1]
    assert given.seed == 3, "the evaluation has it as it was given"


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
