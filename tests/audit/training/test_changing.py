"""A setting that is changed between two batches: once, from the first step of a batch on, however it is killed.

The witness is the rate of each step that the checkpoint itself has noted.
"""

import random
import tempfile
from pathlib import Path

import pytest

from audit.api import verify
from audit.errors import ConfigError
from tests.audit.training.conftest import CONFIG, Shop, legs, plan
from tests.audit.training.test_chaos import Clock, counted
from tests.audit.training.toy import Kill, rates_in


def _set(shop: Shop, rate: float) -> None:
    toy = f"per_step = 2\nsave_steps = 2\nrate = {rate}"
    (shop.home / "train.toml").write_text(CONFIG.format(data="", toy=toy, more=""))


def _rates(shop: Shop) -> list[float]:
    newest = max(shop.run.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    return rates_in(newest)


@pytest.fixture
def started(shop: Shop) -> Shop:
    return _started(shop)


def _started(shop: Shop) -> Shop:
    _set(shop, 1.0)
    shop.drop("a.jsonl", [1, 2, 3, 4])
    shop.train()
    _set(shop, 0.5)
    shop.drop("b.jsonl", [11, 12, 13, 14, 15, 16])
    return shop


def test_a_changed_configuration_alone_changes_nothing(started: Shop) -> None:
    started.train()

    assert _rates(started) == [1.0] * 5


def test_with_the_word_the_next_batch_and_all_after_it_are_trained_with_the_new_value(started: Shop) -> None:
    assert started.train(change=("rate",)) == 0
    assert {event["text"] for event in started.said("note")} == {"rate is 0.5 from step 3 on, as it was changed"}
    started.drop("c.jsonl", [21, 22])
    assert started.train(change=("rate",)) == 0  # a script that goes on saying it

    assert _rates(started) == [1.0, 1.0, 0.5, 0.5, 0.5, 0.5]
    assert [row.get("changes") for row in legs(started)] == [None, {"rate": 0.5}, None]
    assert verify(str(started.run)).verdict == "sound"


def test_a_batch_in_its_middle_is_finished_with_the_old_value(started: Shop) -> None:
    started.backend.stop_after = 4
    started.train()
    started.backend.stop_after = None
    started.drop("c.jsonl", [21, 22])

    started.train(change=("rate",))

    assert _rates(started) == [1.0] * 5 + [0.5]


def test_without_a_file_nothing_is_changed_and_that_is_said(started: Shop) -> None:
    started.train()

    assert started.train(change=("rate",)) == 0

    assert [event["text"] for event in started.said("note")] == [
        "--change rate: not made, as no batch began; give it again with the next file"
    ]


def test_a_file_that_is_not_complete_yet_is_waited_for_before_that_is_said(started: Shop) -> None:
    config = started.home / "train.toml"
    config.write_text(config.read_text().replace("settle-seconds = 0", "settle-seconds = 0.3"))
    started.drop("c.jsonl", [21, 22])

    assert started.train(change=("rate",)) == 0

    assert _rates(started)[-1] == 0.5
    assert {event["text"] for event in started.said("note")} == {"rate is 0.5 from step 3 on, as it was changed"}


def test_a_setting_that_the_configuration_or_the_backend_does_not_have_is_refused(started: Shop) -> None:
    with pytest.raises(ConfigError, match=r"--change speed: .* has none; it sets rate"):
        started.train(change=("speed",))
    started.backend.changeable = None  # type: ignore[assignment,method-assign]
    with pytest.raises(ConfigError, match="the backend toy cannot change a setting"):
        started.train(change=("rate",))


def test_it_is_planned_and_nothing_is_recorded(started: Shop) -> None:
    found = plan(started, change=("rate",))

    assert found.legs[0].work.request.changes == {"rate": 0.5}
    started.train()
    assert _rates(started) == [1.0] * 5


def test_after_going_back_it_is_made_again_at_its_place(started: Shop) -> None:
    started.train(change=("rate",))

    started.train(back_to="checkpoint-2")
    assert _rates(started) == [1.0, 1.0, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_any_moment_the_rates_are_those_of_an_uninterrupted_training(seed: int) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as home:
        shop, clock = _started(Shop(Path(home))), Clock()
        shop.drop("c.jsonl", [21, 22, 23, 24])
        shop.backend.tick = clock.tick
        begun = 0
        for _ in range(5):
            clock.left = chance.randrange(70)
            try:
                with counted(clock):
                    shop.train(change=("rate",) if not begun else ())
            except Kill:
                pass
            begun += any(row.get("changes") for row in legs(shop))
        clock.left = None
        shop.train(change=("rate",) if not begun else ())

        assert _rates(shop) == [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5]
        assert sorted(shop.trained()) == [1, 2, 3, 4, 11, 12, 13, 14, 15, 16, 21, 22, 23, 24]
