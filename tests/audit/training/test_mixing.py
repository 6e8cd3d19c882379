"""Examples of earlier batches are replayed with each new one: a share that is always the same, counted by a witness."""

import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.api import verify
from audit.errors import ConfigError
from audit.ledger.batches import Batch
from audit.training.config import read_train_config
from audit.training.mixing import draw
from audit.training.run_state import TrainRefused
from tests.audit.training.conftest import Shop, legs, plan
from tests.audit.training.test_chaos import Clock, counted
from tests.audit.training.toy import POISON, Kill

Make = Callable[..., Shop]
TOY = "per_step = 3\nsave_steps = 1"


def batch(name: str, rows: int, replayed: int = 0) -> Batch:
    return Batch(name, name, "retired", 0, 1, 1, rows + replayed, 1, 1, (), "", None, None, 0, replayed=replayed)


POOL = [batch("a", 5), batch("b", 0), batch("c", 7, replayed=3), batch("d", 1)]


def drawn(share: float, count: int, text: str = "42:x") -> list[tuple[str, int]]:
    return [(item.batch, row) for item in draw(POOL, share, count, text) for row in item.rows]


@pytest.mark.parametrize(
    ("share", "count", "number"), [(0.1, 4, 0), (0.1, 5, 1), (0.5, 10, 5), (1.0, 13, 13), (9.0, 9, 13)]
)
def test_as_many_are_drawn_as_the_share_says_and_none_twice(share: float, count: int, number: int) -> None:
    found = drawn(share, count)
    assert len(found) == len(set(found)) == number
    assert set(found) <= {*(("a", row) for row in range(5)), *(("c", row) for row in range(7)), ("d", 0)}


def test_the_draw_is_the_same_everywhere_and_depends_on_the_batch() -> None:
    assert drawn(0.5, 10) == [("a", 0), ("a", 1), ("a", 4), ("c", 0), ("c", 4)]
    assert drawn(0.5, 10) != drawn(0.5, 10, "42:y")


def test_every_row_has_the_same_chance() -> None:
    times = Counter(place for number in range(2000) for place in drawn(0.4, 10, f"{number}"))
    assert len(times) == 13
    assert all(520 < count < 720 for count in times.values())  # 615 are expected, sigma is 21


class Witness:
    """Counts, from what was dropped and from the checkpoint alone, which batch trained which example how often."""

    def __init__(self, shop: Shop, batches: list[list[int]], share: float, epochs: int = 1) -> None:
        self.shop, self.batches, self.share, self.epochs = shop, batches, share, epochs

    def check(self, why: object) -> None:
        trained, earlier = self.shop.trained(), list[int]()
        for own in self.batches:
            again = min(len(earlier), int(self.share * len(own) + 0.5))
            size = (len(own) + again) * self.epochs
            leg, trained = Counter(trained[:size]), trained[size:]
            assert {example: leg[example] for example in own} == dict.fromkeys(own, self.epochs), why
            rest = {example: count for example, count in leg.items() if example not in own}
            assert len(rest) == again, why
            assert set(rest) <= set(earlier), why
            assert set(rest.values()) <= {self.epochs}, why
            earlier += own
        assert trained == [], why


def week(shop: Shop, sizes: tuple[int, ...] = (6, 9, 4, 10)) -> list[list[int]]:
    batches = [list(range(100 * day, 100 * day + size)) for day, size in enumerate(sizes, 1)]
    for day, examples in enumerate(batches):
        shop.drop(f"{day}.jsonl", examples)
    return batches


@pytest.mark.parametrize("epochs", [1, 2])
def test_each_batch_trains_its_own_examples_and_a_share_of_the_earlier_ones(epochs: int, make_shop: Make) -> None:
    shop = make_shop(data=f"replay = 0.5\nepochs = {epochs}", toy=TOY)
    batches = week(shop)
    planned = plan(shop)
    assert planned.refusal is None
    assert shop.train() == 0
    Witness(shop, batches, 0.5, epochs).check("")
    assert [(leg.work.replayed, leg.examples) for leg in planned.legs] == [
        (again, leg["examples"]) for again, leg in zip((0, 5, 2, 5), legs(shop), strict=True)
    ]
    assert verify(str(shop.run)).verdict == "sound"
    assert [sum(len(rows) for _, _, rows in leg.get("replay", [])) for leg in legs(shop)] == [0, 5, 2, 5]
    assert [leg["examples"] for leg in legs(shop)] == [6 * epochs, 14 * epochs, 6 * epochs, 15 * epochs]


def test_through_kills_each_batch_and_its_replay_are_trained_once_and_the_bits_are_the_same() -> None:
    chance = random.Random(7)
    with tempfile.TemporaryDirectory() as home:
        never = Shop(Path(home), data="replay = 0.5", toy=TOY)
        week(never)
        never.train()
        expected = never.trained()
    kills = 0
    for life in range(12):
        with tempfile.TemporaryDirectory() as home:
            shop, clock = Shop(Path(home), data="replay = 0.5", toy=f"{TOY}\nlimit = 2"), Clock()
            shop.backend.tick = clock.tick
            batches = week(shop)
            for _ in range(4):
                clock.left = chance.randint(0, 150)
                try:
                    with counted(clock):
                        shop.train()
                except Kill:
                    kills += 1
                finally:
                    clock.left = None
            shop.train()
            Witness(shop, batches, 0.5).check(life)
            assert shop.trained() == expected, life
    assert kills > 12


def test_with_several_files_as_one_batch_too(make_shop: Make) -> None:
    shop = make_shop(data="replay = 0.5\ngroup = 10", toy=TOY)
    batches = week(shop, (4, 6, 3, 7, 5))
    assert shop.train() == 0
    Witness(shop, [batches[0] + batches[1], batches[2] + batches[3], batches[4]], 0.5).check("")
    assert shop.names("done") == [f"{day}.jsonl" for day in range(5)]


def test_after_a_step_back_the_same_examples_are_replayed(make_shop: Make) -> None:
    shop = make_shop(data="replay = 0.5", toy=TOY)
    week(shop)
    shop.train()
    before = shop.trained()
    (max(shop.run.glob("checkpoint-*"), key=lambda path: int(path.name[11:])) / "scheduler.pt").unlink()
    shutil.rmtree(shop.run / ".audit" / "pinned")
    assert shop.train() == 0
    assert shop.trained() == before


@pytest.mark.parametrize("how", ["gone", "changed"])
def test_an_earlier_file_that_is_gone_or_changed_is_named(how: str, make_shop: Make) -> None:
    shop = make_shop(data="replay = 1.0", toy=TOY)
    shop.drop("a.jsonl", [1, 2, 3])
    shop.train()
    done = shop.home / "done" / "a.jsonl"
    text = done.read_text()
    done.unlink() if how == "gone" else done.write_text(text.replace("1", "7"))
    shop.drop("b.jsonl", [4, 5, 6])
    with pytest.raises(TrainRefused, match=r"^b\.jsonl: examples of a\.jsonl are replayed .* put it back there"):
        shop.train()
    assert plan(shop).refusal is not None
    assert shop.names("inbox") == ["b.jsonl"]
    done.write_text(text)
    assert shop.train() == 0
    assert Counter(shop.trained()) == Counter([1, 2, 3] * 2 + [4, 5, 6])


def test_it_can_be_left_out_if_asked_but_not_in_the_middle(make_shop: Make) -> None:
    shop = make_shop(data="replay = 1.0", toy=TOY)
    shop.drop("a.jsonl", [1, 2, 3])
    shop.train()
    done = shop.home / "done" / "a.jsonl"
    text = done.read_text()
    shop.drop("b.jsonl", [4, 5, 6])
    shop.backend.stop_after = 2
    shop.train()
    shop.backend.stop_after = None
    done.unlink()
    with pytest.raises(TrainRefused, match="put it back there"):
        shop.train(skip_lost=True)
    done.write_text(text)
    shop.train()
    done.unlink()
    shop.drop("c.jsonl", [7, 8, 9])
    assert shop.train(skip_lost=True) == 0
    assert set(shop.trained()[-3:]) & {7, 8, 9}


def test_what_is_replayed_has_the_format_of_what_is_new(make_shop: Make) -> None:
    shop = make_shop(data="replay = 1.0", toy=TOY)
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    (shop.inbox / "b.jsonl").write_text(json.dumps({"text": "x"}) + "\n")
    assert [leg.work.replayed for leg in plan(shop).legs] == [0]


def test_a_bad_row_beside_replayed_ones_is_that_of_its_file(make_shop: Make) -> None:
    shop = make_shop(data="replay = 1.0", toy=TOY)
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    shop.drop("b.jsonl", [3, POISON])
    assert shop.train() == 1
    assert shop.said("rejected")[0]["reason"] == "row 2: is poison"
    shop.drop("c.jsonl", [4, 5])
    assert shop.train() == 0
    assert sorted(shop.trained()) == [1, 1, 2, 2, 4, 5]


def test_replay_needs_what_was_trained(make_shop: Make) -> None:
    shop = make_shop(data='replay = 0.1\nafter = "delete"')
    with pytest.raises(
        ConfigError, match=r'data\.replay: needs the files in done, which data\.after = "delete" deletes'
    ):
        read_train_config(str(shop.home / "train.toml"), shop.registry)


def test_what_stands_in_the_place_of_the_mixed_file_is_not_followed(make_shop: Make) -> None:
    shop = make_shop(data="replay = 1.0", toy=TOY)
    shop.drop("a.jsonl", [1])
    shop.train()
    (shop.home / "mine").write_text("keep")
    (shop.run / ".audit" / "mixed.jsonl").symlink_to(shop.home / "mine")
    shop.drop("b.jsonl", [2])
    assert shop.train() == 0
    assert (shop.home / "mine").read_text() == "keep"
