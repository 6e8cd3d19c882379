"""A failure that may pass is tried again; any other ends the call at once."""

import signal
import time
from collections.abc import Callable

import pytest

from audit.backend.training import LegFailed
from audit.training import retrying
from audit.training.run_state import TrainRefused
from tests.audit.training.conftest import Shop, legs

Make = Callable[..., Shop]
RETRY = "[retry]\ntimes = 2\nwait-seconds = {}"


def failing(shop: Shop, times: int, kind: str = "out-of-memory", at: str = "step 1") -> None:
    left = [None] * times

    def fail(what: str) -> None:
        if what == at and left:
            left.pop()
            raise LegFailed("memory ran out", kind, 0)

    shop.backend.tick = fail


@pytest.mark.parametrize("kind", ["killed", "out-of-memory"])
def test_what_may_pass_is_tried_again_and_every_example_is_trained_once(kind: str, make_shop: Make) -> None:
    shop = make_shop(more=RETRY.format(0.01))
    shop.drop("a.jsonl", [1, 2, 3])
    shop.drop("b.jsonl", [4])
    failing(shop, 2, kind)
    assert shop.train() == 0
    assert sorted(shop.trained()) == [1, 2, 3, 4]
    assert [(event["kind"], event["attempt"], event["times"], event["seconds"]) for event in shop.said("retry")] == [
        (kind, 1, 2, 0.01),
        (kind, 2, 2, 0.02),
    ]
    assert len(shop.said("failed")) == 2
    assert len(legs(shop)) == 4


def test_it_gives_up_after_so_many_times(make_shop: Make) -> None:
    shop = make_shop(more=RETRY.format(0))
    shop.drop("a.jsonl", [1, 2, 3])
    failing(shop, 3)
    with pytest.raises(TrainRefused, match="failed at step 0: memory ran out"):
        shop.train()
    assert len(shop.said("retry")) == 2
    assert shop.train() == 0


def test_a_leg_that_got_on_is_counted_anew(make_shop: Make) -> None:
    shop = make_shop(toy="per_step = 1\nsave_steps = 1", more=RETRY.format(0))
    shop.drop("a.jsonl", list(range(6)))
    seen: set[str] = set()

    def fail_once_at_each(what: str) -> None:
        if what.startswith("step") and what not in seen:
            seen.add(what)
            raise LegFailed("memory ran out", "out-of-memory", 0)

    shop.backend.tick = fail_once_at_each
    assert shop.train() == 0
    assert sorted(shop.trained()) == list(range(6))
    assert [(event["step"], event["attempt"]) for event in shop.said("retry")] == [
        (0, 1), (0, 2), (1, 1), (2, 1), (3, 1), (4, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["error", "disk-full", "exit", "no-progress"])
def test_what_will_not_pass_is_not_tried_again(kind: str, make_shop: Make) -> None:
    shop = make_shop(more=RETRY.format(0))
    shop.drop("a.jsonl", [1])
    failing(shop, 1, kind)
    with pytest.raises(TrainRefused):
        shop.train()
    assert shop.said("retry") == []


def test_without_the_table_nothing_is_tried_again(shop: Shop) -> None:
    shop.drop("a.jsonl", [1])
    failing(shop, 1, "killed")
    with pytest.raises(TrainRefused):
        shop.train()


def test_a_leg_that_was_asked_to_end_is_not_tried_again(make_shop: Make) -> None:
    shop = make_shop(more=RETRY.format(0))
    shop.drop("a.jsonl", [1])

    def fail(what: str) -> None:
        error = LegFailed("killed while it saved", "killed", 0)
        error.stopped_by = signal.SIGTERM
        raise error

    shop.backend.tick = fail
    with pytest.raises(TrainRefused):
        shop.train()
    assert shop.said("retry") == []


def test_the_pause_has_an_end(make_shop: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(retrying, "LONGEST", 100.0)
    shop = make_shop(more="[retry]\ntimes = 4\nwait-seconds = 30")
    shop.drop("a.jsonl", [1])
    failing(shop, 4)
    assert shop.train() == 0
    assert slept == [30, 60, 100, 100]
