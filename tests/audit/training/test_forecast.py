"""A forecast says whether all of it would work, by the rules for each leg to come."""

from collections.abc import Callable

from audit.training.config import read_train_config
from audit.training.forecast import forecast_next_leg
from tests.audit.training.conftest import Shop, plan

Make = Callable[..., Shop]


def test_a_duplicate_is_what_the_exit_code_of_the_training_says_too(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.drop("b.jsonl", [1, 2])

    forecast = plan(shop)

    assert [item.event for item in forecast.aside] == ["duplicate"]
    assert not forecast.works
    assert forecast.refusal is None
    assert shop.train() == 1


def test_what_the_guard_refuses_is_refused(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    (shop.run / "checkpoint-1/optimizer.pt").unlink()
    for path in (shop.run / ".audit/pinned/checkpoint-1").iterdir():
        path.unlink()
    shop.drop("b.jsonl", [3, 4])

    forecast = plan(shop)

    assert "no checkpoint can be resumed from" in (forecast.refusal or "")
    assert not forecast.works
    assert forecast.later == ("b.jsonl",)
    assert plan(shop, allow_fresh=True).refusal is None


def test_an_empty_inbox_is_judged_as_the_next_leg_would_be(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.train()

    forecast = plan(shop)

    assert forecast.legs == ()
    assert forecast.checkpoint == "checkpoint-1"
    assert forecast.works
    assert {item.rule for item in forecast.judgements[0].outcomes} >= {"plan/disk", "plan/schedule-moves"}


def test_the_plan_of_the_next_leg_from_what_the_guard_decided(changed: Shop) -> None:
    config, trainer = read_train_config(str(changed.home / "train.toml"), changed.registry)

    found = forecast_next_leg(config, trainer, changed.registry, plan(changed).decision)

    assert len(found.legs) == 1
    assert [item.rule for item in found.findings] == ["plan/adapter-changed"]
