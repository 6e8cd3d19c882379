"""Where nothing can be resumed from, training and plan name every way that is open."""

import os
import re
import shutil

import pytest

from audit.training.run_state import TrainRefused
from tests.audit.training.conftest import Shop, plan


def damaged(shop: Shop) -> Shop:
    """Every checkpoint of the run lacks its optimizer, and none is pinned."""
    for path in shop.run.glob("checkpoint-*"):
        (path / "optimizer.pt").unlink()
    shutil.rmtree(shop.run / ".audit" / "pinned")
    return shop


def refusal(shop: Shop) -> str:
    with pytest.raises(TrainRefused) as refused:
        shop.train()
    assert plan(shop).refusal == str(refused.value)
    return str(refused.value)


def test_the_checkpoint_of_a_graceful_stop_is_pinned(begun: Shop) -> None:
    assert [path.name for path in (begun.run / ".audit" / "pinned").iterdir()] == ["checkpoint-2"]
    (begun.run / "checkpoint-2" / "optimizer.pt").unlink()

    assert begun.train() == 0

    assert begun.said("put-back") == [{"event": "put-back", "checkpoint": "checkpoint-2"}]
    assert sorted(begun.trained()) == list(range(8))


def test_the_ways_are_named_and_starting_over_is_one(begun: Shop) -> None:
    text = refusal(damaged(begun))

    assert "no checkpoint can be resumed from; ways to go on: move the broken ones away (audit quarantine " in text
    assert "--adopt" in text
    assert text.endswith("--allow-fresh starts over at step 0, training a.jsonl again")
    assert "--back-to" not in text
    assert begun.train(allow_fresh=True) == 0
    assert sorted(begun.trained()) == list(range(8))


def test_a_checkpoint_in_quarantine_that_is_proven_is_named_and_can_be_gone_back_to(shop: Shop) -> None:
    shop.drop("a.jsonl", list(range(8)))
    shop.train()
    shop.drop("b.jsonl", list(range(10, 18)))
    shop.train()
    (shop.run / ".audit" / "quarantine").mkdir()
    os.rename(shop.run / "checkpoint-4", shop.run / ".audit" / "quarantine" / "checkpoint-4")

    text = refusal(damaged(shop))

    assert "--back-to checkpoint-4 continues from checkpoint-4 (in quarantine); move the broken" in text
    assert "training a.jsonl, b.jsonl again" in text
    way = re.search(r"--back-to (\S+)", text)
    assert way is not None
    assert shop.train(back_to=way[1]) == 0
    assert sorted(shop.trained()) == [*range(8), *range(10, 18)]
