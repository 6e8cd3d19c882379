"""The held-out file over batches: its digest is in the ledger, a change is said, each leg is told what is best."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.backend.training import LegRequest, LegResult, Tell
from audit.errors import ConfigError
from audit.manager import load
from audit.testing.run_files import eval_loss
from audit.training.data_files import digest_of, seen
from audit.views.best import choose
from audit.views.inspection import inspect
from tests.audit.training.conftest import Shop, legs, plan
from tests.audit.training.toy import Toy

BEST = {"data": 'eval = "held.jsonl"', "more": '[guard]\nbest = "eval_loss"'}


class Evaluating(Toy):
    """Evaluates at each save, and notes what it is asked."""

    keeps_best = True
    evaluates = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[LegRequest] = []

    def train(self, request: LegRequest, tell: Tell) -> LegResult:
        self.requests.append(request)
        return super().train(request, tell)

    @property
    def told(self) -> list[tuple[int, float] | None]:
        return [request.best for request in self.requests]


@pytest.fixture
def shop(make_shop: Callable[..., Shop]) -> Shop:
    made = make_shop(**BEST, backend=Evaluating())
    (made.home / "held.jsonl").write_text('{"input_ids": [1, 2]}\n')
    return made


def train(shop: Shop, name: str, examples: list[int]) -> Any:
    shop.drop(name, examples)
    assert shop.train() == 0
    return shop.backend


def test_each_leg_is_told_the_best_checkpoint_of_all_batches(shop: Shop) -> None:
    train(shop, "a.jsonl", [1, 2, 3, 4])
    train(shop, "b.jsonl", [5, 6, 7, 8])
    backend = train(shop, "c.jsonl", [9, 10])

    assert backend.told == [None, (2, eval_loss(2)), (4, eval_loss(4))]  # the toy's loss falls with each step
    assert [row.get("best") for row in legs(shop)] == [None, [2, eval_loss(2)], [4, eval_loss(4)]]


def test_one_that_is_gone_or_cannot_be_read_is_not_the_best(shop: Shop) -> None:
    train(shop, "a.jsonl", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])  # saves 3 and 5
    (shop.run / "checkpoint-5" / "model.safetensors").write_bytes(b"")
    (shop.run / ".audit" / "pinned" / "checkpoint-5" / "model.safetensors").write_bytes(b"")
    assert shop.train() == 0

    assert shop.backend.told == [None, (3, eval_loss(3))]  # type: ignore[attr-defined]


def test_another_held_out_file_is_said_and_the_best_is_chosen_anew(shop: Shop) -> None:
    held = shop.home / "held.jsonl"
    first = digest_of(seen(str(held), held.name))  # type: ignore[arg-type]
    train(shop, "a.jsonl", [1, 2, 3, 4])
    held.write_text('{"input_ids": [3, 4]}\n')
    backend = train(shop, "b.jsonl", [5, 6])
    (said,) = [event["text"] for event in shop.said("note") if "data.eval" in event["text"]]
    train(shop, "c.jsonl", [7, 8])

    assert f"{held} is not the file of the evaluations up to step 2" in said
    assert not [event for event in shop.said("note") if "data.eval" in event["text"]]
    assert backend.told == [None, None, (3, eval_loss(3))]
    assert [row["held_out"] == first for row in legs(shop)] == [True, False, False]
    choice = choose(inspect(str(shop.run), registry=load()))
    assert [item.checkpoint for item in choice.candidates] == ["checkpoint-3", "checkpoint-4"]
    assert any("passed over checkpoint-2: its eval_loss is of another" in note for note in choice.notes)


def test_a_plan_says_it_before_anything_is_trained(shop: Shop) -> None:
    train(shop, "a.jsonl", [1, 2, 3, 4])
    shop.drop("b.jsonl", [5, 6])
    assert not any("data.eval" in note for note in plan(shop).notes)
    (shop.home / "held.jsonl").write_text('{"input_ids": [3, 4]}\n')

    said = [note for note in plan(shop).notes if "data.eval" in note]
    assert len(said) == 1
    assert "is not the file of the evaluations up to step 2" in said[0]
    (shop.home / "held.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"data\.eval: .*held\.jsonl cannot be read: there is no such file"):
        plan(shop)


def test_the_same_bytes_with_another_time_are_the_same_file(shop: Shop) -> None:
    train(shop, "a.jsonl", [1, 2, 3, 4])
    held = shop.home / "held.jsonl"
    held.write_text(held.read_text())
    backend = train(shop, "b.jsonl", [5, 6])

    assert backend.told == [None, (2, eval_loss(2))]
    assert shop.said("note") == []


def test_a_file_that_changes_while_a_leg_is_trained_is_said(shop: Shop) -> None:
    def write(what: str) -> None:
        (shop.home / "held.jsonl").write_text(f'{{"input_ids": [{len(what)}, 4]}}\n')

    shop.backend.tick = write
    train(shop, "a.jsonl", [1, 2])

    assert any("was changed while a leg was trained" in event["text"] for event in shop.said("note"))


def test_without_the_file_nothing_is_trained(shop: Shop) -> None:
    (shop.home / "held.jsonl").unlink()
    shop.drop("a.jsonl", [1, 2])

    with pytest.raises(ConfigError, match=r"data\.eval: .*held\.jsonl cannot be read: there is no such file"):
        shop.train()


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"more": BEST["more"]}, r"guard\.best: needs the held-out file that data\.eval names"),
        ({"data": BEST["data"], "more": '[guard]\nbest = "a b"'}, r"guard\.best: .*does not match"),
    ],
)
def test_what_cannot_work_is_refused(make_shop: Callable[..., Shop], parts: dict[str, str], why: str) -> None:
    made = make_shop(**parts, backend=Evaluating())
    with pytest.raises(ConfigError, match=why):
        made.train()


def test_a_trainer_that_does_not_evaluate_is_refused(make_shop: Callable[..., Shop], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"guard\.best: the backend toy does not evaluate"):
        make_shop(**BEST).train()
