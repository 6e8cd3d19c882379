"""What is foreseen is what comes, and looking changes nothing."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.facts.space import Free
from audit.findings import Severity
from audit.training.config import read_train_config
from audit.training.forecast import Forecast, forecast, forecast_next_leg
from audit.training.run_state import TrainRefused
from tests.audit.training.conftest import Shop
from tests.audit.training.toy import Kill

Make = Callable[..., Shop]


def plan(shop: Shop, **options: Any) -> Forecast:
    config, trainer = read_train_config(str(shop.home / "train.toml"), shop.registry)
    return forecast(config, trainer, shop.registry, **options)


def legs(forecast: Forecast) -> list[tuple[str, int, int | None]]:
    return [(leg.work.file.name, leg.work.request.first_step, leg.work.request.last_step) for leg in forecast.legs]


def trained(shop: Shop) -> list[tuple[str, int, int]]:
    return [(event["file"], event["first_step"], event["last_step"]) for event in shop.said("batch")]


def snapshot(home: Path) -> dict[str, Any]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else sorted(os.listdir(path)))
        for path in [home, *home.rglob("*")]
    }


def kill(shop: Shop, moment: str) -> None:
    def tick(what: str) -> None:
        if what == moment:
            raise Kill

    shop.backend.tick = tick
    with pytest.raises(Kill):
        shop.train()
    shop.backend.tick = lambda what: None


def test_a_fresh_run_is_planned_as_it_is_then_trained(shop: Shop) -> None:
    shop.drop("a.jsonl", list(range(7)))
    shop.drop("b.jsonl", list(range(10, 14)))
    before = snapshot(shop.home)

    forecast = plan(shop)

    assert snapshot(shop.home) == before
    assert legs(forecast) == [("a.jsonl", 0, 4), ("b.jsonl", 4, 6)]
    assert [(leg.rows, leg.examples, leg.steps) for leg in forecast.legs] == [(7, 7, 4), (4, 4, 2)]
    assert (forecast.checkpoint, forecast.refusal, forecast.works) == (None, None, True)
    assert shop.train() == 0
    assert trained(shop) == legs(forecast)


def test_a_batch_that_was_begun_goes_on_where_it_stopped(shop: Shop) -> None:
    shop.drop("a.jsonl", list(range(12)))
    shop.drop("b.jsonl", list(range(20, 24)))
    kill(shop, "step 5")  # checkpoint-3 is there
    before = snapshot(shop.home)

    forecast = plan(shop)

    assert snapshot(shop.home) == before
    assert legs(forecast) == [("a.jsonl", 3, 6), ("b.jsonl", 6, 8)]
    assert forecast.legs[0].work.request.data.first == 6
    assert shop.train() == 0
    assert trained(shop) == legs(forecast)


@pytest.mark.parametrize("moment", ["saving 3", "saved 3", "saving 6", "saved 6", "saved 8"])
def test_whenever_a_training_was_killed_the_plan_is_what_comes(shop: Shop, moment: str) -> None:
    shop.drop("a.jsonl", list(range(12)))
    shop.drop("b.jsonl", list(range(20, 24)))
    kill(shop, moment)

    forecast = plan(shop)

    assert forecast.works
    shop.train()
    assert trained(shop) == legs(forecast)


def test_files_that_are_bad_or_known_are_told(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    (shop.inbox / "bad.jsonl").write_text('{"input_ids": [1, 2]}\n{"input_ids": "no"}\n')
    shop.drop("copy.jsonl", [1, 2])
    shop.drop("new.jsonl", [3, 4])

    forecast = plan(shop)

    assert [(item.file, item.event) for item in forecast.aside] == [
        ("bad.jsonl", "rejected"),
        ("copy.jsonl", "duplicate"),
    ]
    assert "row 2" in forecast.aside[0].reason
    assert not forecast.works
    assert legs(forecast) == [("new.jsonl", 1, 2)]
    assert shop.names("inbox") == ["bad.jsonl", "copy.jsonl", "new.jsonl"]


def test_a_duplicate_alone_is_no_reason_against_it(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.drop("b.jsonl", [1, 2])

    forecast = plan(shop)

    assert [item.event for item in forecast.aside] == ["duplicate"]
    assert forecast.works


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


def test_a_schedule_that_ends_before_the_data_is_refused_where_it_ends(make_shop: Make) -> None:
    shop = make_shop(more="[schedule]\ntotal_steps = 4")
    shop.drop("a.jsonl", [1, 2, 3, 4])
    shop.drop("b.jsonl", [5, 6, 7, 8, 9])

    forecast = plan(shop)

    assert legs(forecast) == [("a.jsonl", 0, 2)]
    assert "the schedule ends at step 4" in (forecast.refusal or "")
    assert forecast.later == ("b.jsonl",)
    assert not forecast.works


def test_where_steps_are_not_known_what_follows_is_not_either(make_shop: Make) -> None:
    shop = make_shop(toy="per_step = 0")
    shop.drop("a.jsonl", [1, 2])
    shop.drop("b.jsonl", [3, 4])

    forecast = plan(shop)

    assert legs(forecast) == [("a.jsonl", 0, None)]
    assert forecast.later == ("b.jsonl",)


def test_an_empty_inbox_is_judged_as_the_next_leg_would_be(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.train()

    forecast = plan(shop)

    assert legs(forecast) == []
    assert forecast.checkpoint == "checkpoint-1"
    assert forecast.works
    assert {item.rule for item in forecast.judgements[0].outcomes} >= {"plan/disk", "plan/schedule-moves"}


def test_as_many_processes_as_last_time(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2, 3, 4])
    assert plan(shop, processes=2).legs[0].steps == 1
    assert plan(shop).legs[0].steps == 2


# -- before each leg --------------------------------------------------------------------------------------------------


@pytest.fixture
def changed(shop: Shop) -> Shop:
    """A run of which the checkpoint does not fit to what the backend now says that it would train."""
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    adapter = {"peft_type": "LORA", "r": 64, "lora_alpha": 8}
    shop.backend.adapter = lambda settings: adapter  # type: ignore[attr-defined]
    shop.drop("b.jsonl", [3, 4])
    return shop


def test_a_leg_that_does_not_fit_its_checkpoint_is_refused_and_its_data_stays(changed: Shop) -> None:
    before = changed.names("inbox")

    with pytest.raises(TrainRefused, match=r"b\.jsonl: The planned adapter .* r is 64, was 4 \(plan/adapter-changed\)"):
        changed.train()

    assert changed.names("inbox") == before
    assert changed.said("batch") == []
    assert [item.rule for item in plan(changed).findings] == ["plan/adapter-changed"]
    del changed.backend.adapter  # type: ignore[attr-defined]
    assert changed.train() == 0


def test_a_rule_that_is_ignored_refuses_nothing(make_shop: Make) -> None:
    shop = make_shop(more='[verify]\nignore = ["plan"]')
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    shop.backend.adapter = lambda settings: {"r": 64}  # type: ignore[attr-defined]
    shop.drop("b.jsonl", [3, 4])

    assert plan(shop).judgements[0].outcomes == ()
    assert shop.train() == 0


def test_a_full_disk_is_seen_before_a_leg(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    shop.drop("b.jsonl", list(range(10, 30)))
    monkeypatch.setattr("audit.training.preflight.free_at", lambda path: Free(1000, None))

    (finding,) = plan(shop).findings
    assert finding.rule == "plan/disk"
    with pytest.raises(TrainRefused, match=r"plan/disk"):
        shop.train()
    assert shop.names("inbox") == ["b.jsonl"]


def test_a_warning_is_told_and_training_goes_on(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    given = {"lr_scheduler_type": "constant", "learning_rate": 0.5}
    shop.backend.arguments = lambda request: given  # type: ignore[attr-defined]
    shop.drop("b.jsonl", [3, 4])

    assert [item.rule for item in plan(shop).findings if item.severity is Severity.WARNING] == ["plan/schedule-moves"]
    assert shop.train() == 0
    assert any("plan/schedule-moves" in event["text"] for event in shop.said("note"))


def test_the_plan_of_the_next_leg_from_what_the_guard_decided(changed: Shop) -> None:
    config, trainer = read_train_config(str(changed.home / "train.toml"), changed.registry)

    found = forecast_next_leg(config, trainer, changed.registry, plan(changed).decision)

    assert len(found.legs) == 1
    assert [item.rule for item in found.findings] == ["plan/adapter-changed"]
