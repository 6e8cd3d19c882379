"""The legs that a dry run foresees are those that are then trained, and looking changes nothing."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.training.forecast import Forecast
from tests.audit.training.conftest import Shop, plan
from tests.audit.training.toy import Kill

Make = Callable[..., Shop]


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


def test_as_many_processes_as_last_time(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2, 3, 4])
    assert plan(shop, processes=2).legs[0].steps == 1
    assert plan(shop).legs[0].steps == 2
