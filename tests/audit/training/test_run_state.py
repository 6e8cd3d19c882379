"""What training resumes from, what is moved out of its way, and when a step counts as proven."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from audit.api import verify
from audit.judging.auditor import Auditor
from audit.training.run_state import TrainRefused
from tests.audit.training.conftest import Shop

Make = Callable[..., Shop]


def test_a_broken_checkpoint_is_moved_away_and_its_steps_are_trained_again(shop: Shop) -> None:
    shop.drop("a.jsonl", list(range(8)))
    shop.train()
    shop.drop("b.jsonl", list(range(10, 16)))
    shop.train()
    (shop.run / "checkpoint-7" / "optimizer.pt").unlink()
    shutil.rmtree(shop.run / ".audit" / "pinned")
    shop.drop("c.jsonl", [20, 21])

    assert shop.train() == 0

    assert sorted(shop.trained()) == [*range(8), *range(10, 16), 20, 21]
    assert (shop.run / ".audit" / "quarantine" / "checkpoint-7").is_dir()
    assert shop.names("done") == ["a.jsonl", "b.jsonl", "c.jsonl"]
    assert verify(str(shop.run)).verdict == "sound"


def test_a_pin_takes_the_place_of_the_checkpoint_that_broke(make_shop: Make) -> None:
    shop = make_shop(toy="save_steps = 99")
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    (shop.run / "checkpoint-1" / "optimizer.pt").unlink()

    assert shop.train() == 0

    assert [event["checkpoint"] for event in shop.said("put-back")] == ["checkpoint-1"]
    assert sorted(shop.trained()) == [1, 2]
    assert shop.said("batch") == []
    assert verify(str(shop.run)).verdict == "sound"


def test_a_checkpoint_without_random_numbers_is_passed_over_where_an_older_one_has_them(shop: Shop) -> None:
    shop.drop("a.jsonl", list(range(8)))
    shop.train()
    (shop.run / "checkpoint-4" / "rng_state.pth").unlink()
    shutil.rmtree(shop.run / ".audit" / "pinned")
    assert shop.train() == 0
    assert [event["first_step"] for event in shop.said("batch")] == [3]
    assert sorted(shop.trained()) == list(range(8))


def test_where_none_has_them_it_is_taken_all_the_same_and_said(make_shop: Make) -> None:
    shop = make_shop(toy="save_steps = 99")

    def forget(what: str) -> None:
        if what == "saved 1":
            (shop.run / "checkpoint-1" / "rng_state.pth").unlink()

    shop.backend.tick = forget
    shop.drop("a.jsonl", [1, 2])
    shop.drop("b.jsonl", [3, 4])
    assert shop.train() == 0
    assert "checkpoint-1: resumes, but not bit for bit: rng_state.pth" in shop.said("note")[0]["text"]
    assert sorted(shop.trained()) == [1, 2, 3, 4]


def test_where_everything_is_broken_training_does_not_start_over(make_shop: Make) -> None:
    shop = make_shop(toy="save_steps = 99")
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    shutil.rmtree(shop.run / ".audit" / "pinned")
    (shop.run / "checkpoint-1" / "optimizer.pt").unlink()
    shop.drop("b.jsonl", [3])
    with pytest.raises(TrainRefused, match="no checkpoint can be resumed from"):
        shop.train()
    assert shop.names("inbox") == ["b.jsonl"]

    assert shop.train(allow_fresh=True) == 0
    assert sorted(shop.trained()) == [1, 2, 3]


@pytest.mark.parametrize("how", ["link", "file"])
def test_a_checkpoint_to_come_is_not_saved_through_a_link(how: str, shop: Shop) -> None:
    outside = shop.home / "outside"
    outside.mkdir()
    shop.drop("a.jsonl", list(range(8)))
    shop.train()
    if how == "link":
        (shop.run / "checkpoint-6").symlink_to(outside)
    else:
        (shop.run / "checkpoint-6").write_text("")
    shop.drop("b.jsonl", list(range(10, 18)))

    with pytest.raises(TrainRefused, match=r"checkpoint-6: is (a link|not a directory).*move it away"):
        shop.train()
    assert list(outside.iterdir()) == []
    assert shop.names("inbox") == ["b.jsonl"]

    (shop.run / "checkpoint-6").unlink()
    assert shop.train() == 0


@pytest.mark.parametrize("name", ["checkpoint-2", "checkpoint-12345678901234567890", "checkpoint-best", "notes"])
def test_a_link_where_nothing_will_be_saved_is_in_nobodys_way(name: str, begun: Shop) -> None:
    if not (begun.run / name).exists():
        (begun.run / name).symlink_to(begun.home)
    assert begun.train() == 0


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that rules were applied to."""
    found: list[str] = []
    report = Auditor.report

    def counted(self: Auditor, run: Any, *known: Any) -> Any:
        found.append(run.path)
        return report(self, run, *known)

    monkeypatch.setattr(Auditor, "report", counted)
    return found


def test_a_run_is_judged_once_for_each_batch_and_not_at_all_where_nothing_waits(shop: Shop, judged: list[str]) -> None:
    shop.drop("a.jsonl", list(range(8)))
    shop.train()
    judged.clear()

    shop.train()
    assert judged == []
    shop.drop("b.jsonl", [10, 11])
    shop.drop("c.jsonl", [12, 13])
    shop.train()
    assert judged == [str(shop.run)] * 2
