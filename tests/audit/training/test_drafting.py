"""A leg is worked out from the file, the ledger and the configuration: order, epochs, steps, schedule."""

from collections.abc import Callable
from pathlib import Path

import pytest

from audit.errors import AuditError
from audit.training.run_state import TrainRefused
from tests.audit.batch_rows import append
from tests.audit.training.conftest import Shop, legs

Make = Callable[..., Shop]


def test_each_epoch_has_an_order_of_its_own_that_is_the_same_each_time(make_shop: Make, tmp_path: Path) -> None:
    def once(name: str) -> list[int]:
        shop = Shop(tmp_path / name, data="epochs = 2")
        shop.drop("a.jsonl", list(range(8)))
        shop.train()
        return shop.trained()

    first = once("first")
    assert sorted(first[:8]) == sorted(first[8:]) == list(range(8))
    assert first[:8] != first[8:]
    assert once("second") == first


def test_the_order_of_the_file_is_kept_if_asked_for(make_shop: Make) -> None:
    shop = make_shop(data="shuffle = false")
    shop.drop("a.jsonl", [3, 1, 2])
    shop.train()
    assert shop.trained() == [3, 1, 2]


def test_a_changed_batch_size_in_the_middle_of_a_batch_loses_no_example(shop: Shop) -> None:
    shop.drop("a.jsonl", list(range(11)))
    shop.backend.stop_after = 2
    shop.train()
    config = shop.home / "train.toml"
    config.write_text(config.read_text().replace("per_step = 2", "per_step = 3"))
    shop.backend.stop_after = None
    assert shop.train() == 0
    assert sorted(shop.trained()) == list(range(11))


def test_a_horizon_that_a_batch_would_pass_is_refused(make_shop: Make) -> None:
    shop = make_shop(more="[schedule]\ntotal_steps = 3")
    shop.drop("a.jsonl", [1, 2, 3, 4])
    shop.drop("b.jsonl", [5, 6, 7, 8])
    with pytest.raises(TrainRefused, match=r"b\.jsonl: would be trained to step 4, but the schedule ends at step 3"):
        shop.train()
    assert shop.names("done") == ["a.jsonl"]
    assert shop.names("inbox") == ["b.jsonl"]


def test_a_file_whose_examples_are_not_those_in_the_ledger_is_not_trained(shop: Shop) -> None:
    shop.drop("a.jsonl", list(range(8)))
    shop.backend.stop_after = 2
    shop.train()
    shop.backend.stop_after = None
    (leg,) = legs(shop)
    append(str(shop.run), ("batch", {**leg, "examples": 10**9}))
    with pytest.raises(AuditError, match=r"a\.jsonl: has 8 examples, but the ledger says 1000000000"):
        shop.train()
