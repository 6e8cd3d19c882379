"""A run that its ledger does not record is not continued silently: what is unknown is said, and a person decides."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.api import guard, verify
from audit.ledger.store import open_ledger
from audit.manager import load
from audit.retention.snapshots import snapshot
from audit.training.run_state import TrainRefused
from tests.audit.training.conftest import Shop, plan
from tests.audit.training.toy import Kill, kill_at

Make = Callable[..., Shop]


def test_a_ledger_deleted_in_the_middle_of_a_batch_trains_nothing_twice_silently(shop: Shop) -> None:
    shop.drop("a.jsonl", list(range(10)))
    shop.backend.tick = kill_at("step 5")
    with pytest.raises(Kill):
        shop.train()
    shutil.rmtree(shop.run / ".audit")

    with pytest.raises(TrainRefused) as refused:
        shop.train()

    said = str(refused.value)
    assert "checkpoint-3 (step 3) belongs to no batch that it records; restore .audit/ if it was deleted" in said
    assert "--adopt continues and assumes that no file in the inbox was trained in these steps" in said
    assert said.endswith("a.jsonl was being trained, and would be trained from its first example")
    assert shop.names("inbox") == ["a.jsonl"]
    assert shop.train(adopt=True) == 0
    assert Counter(shop.trained()).total() == 16
    assert "adopted: checkpoint-3, whose 3 steps belong to no batch" in [event["text"] for event in shop.said("note")]
    shop.drop("b.jsonl", [20])
    assert shop.train() == 0  # said once, recorded in the ledger


def test_a_ledger_deleted_after_the_last_batch_is_said_with_the_files_in_done(shop: Shop) -> None:
    for number in range(5):
        shop.drop(f"{number}.jsonl", [10 * number, 10 * number + 1])
    shop.train()
    shutil.rmtree(shop.run / ".audit")
    (shop.home / "done" / "README").write_text("not a data file")
    shop.drop("new.jsonl", [90, 91])
    done = shop.home / "done"
    with pytest.raises(
        TrainRefused, match=r"has 5 files that it does not know \(0.jsonl, 1.jsonl, 2.jsonl and 2 more\)"
    ) as refused:
        shop.train()
    assert f"move files that are to be trained from done to {shop.inbox}" in str(refused.value)
    assert str(done) in str(refused.value)
    assert "no batch that it records" in str(plan(shop).refusal)

    assert shop.train(adopt=True) == 0
    assert shop.trained()[-2:] in ([90, 91], [91, 90])
    shop.drop("again.jsonl", [10, 11])
    shop.train()
    (event,) = shop.said("duplicate")
    assert event["reason"] == "the same bytes were adopted as trained (--adopt), as 1.jsonl"


def test_a_run_that_was_trained_by_another_program_is_adopted(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2, 3])
    shop.train()
    for place in (shop.run / ".audit", shop.home / "done"):
        shutil.rmtree(place)
    shop.drop("b.jsonl", [4, 5])
    with pytest.raises(TrainRefused, match="belongs to no batch that it records"):
        shop.train()
    assert shop.train(adopt=True) == 0
    assert sorted(shop.trained()) == [1, 2, 3, 4, 5]


def restore(shop: Shop, day: str = "2026-11-21") -> None:
    shutil.rmtree(shop.run)
    shutil.copytree(shop.home / "snapshots" / day, shop.run)


def take(shop: Shop, day: str = "2026-11-21") -> None:
    assert snapshot(str(shop.run), str(shop.home / "snapshots"), registry=load(), today=day).made


def test_a_restored_snapshot_knows_its_batches_and_says_which_files_came_later(shop: Shop) -> None:
    for name, first in (("a", 0), ("b", 10)):
        shop.drop(f"{name}.jsonl", list(range(first, first + 4)))
    shop.train()
    take(shop)
    shop.drop("c.jsonl", [20, 21])
    shop.train()
    restore(shop)
    assert verify(str(shop.run)).verdict == "sound"
    shop.drop("d.jsonl", [30, 31])

    with pytest.raises(TrainRefused, match=r"has 1 file that it does not know \(c.jsonl\)") as refused:
        shop.train()
    assert "belongs to no batch" not in str(refused.value)
    (shop.home / "done" / "c.jsonl").rename(shop.inbox / "c.jsonl")

    assert shop.train() == 0
    assert sorted(shop.trained()) == [*range(4), *range(10, 14), 20, 21, 30, 31]


def test_a_snapshot_of_the_middle_of_a_batch_is_continued_there(shop: Shop) -> None:
    shop.drop("a.jsonl", list(range(4)))
    shop.drop("b.jsonl", list(range(10, 20)))
    shop.backend.stop_after = 5
    assert shop.train() == 143
    take(shop)
    shop.backend.stop_after = None
    shop.train()
    restore(shop)

    assert shop.train() == 0

    assert sorted(shop.trained()) == [*range(4), *range(10, 20)]
    assert [event["first_example"] for event in shop.said("batch")] == [6]


def test_two_snapshots_of_one_day_record_each_batch_once(shop: Shop) -> None:
    for number in range(3):
        shop.drop(f"{number}.jsonl", [10 * number, 10 * number + 1])
        shop.train()
        take(shop)
    home = str(shop.home / "snapshots" / "2026-11-21")
    kinds = []
    for run in (home, str(shop.run)):
        ledger = open_ledger(run, write=False)
        assert ledger is not None
        kinds.append([(row.time, row.content) for row in ledger.rows() if row.kind == "batch"])
        ledger.close()
    assert kinds[0] == kinds[1][: len(kinds[0])]
    assert [content["event"] for _, content in kinds[0]].count("finished") == 3
    restore(shop)
    assert shop.train() == 0


def test_files_that_the_ledger_knows_may_be_renamed_in_done(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    (shop.home / "done" / "a.jsonl").rename(shop.home / "done" / "monday.jsonl")
    shop.drop("b.jsonl", [3])
    assert shop.train() == 0


def test_the_history_of_an_adopted_run_can_be_shown(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    shutil.rmtree(shop.run / ".audit")
    shop.train(adopt=True)
    command = [sys.executable, "-m", "audit", "history", str(shop.run), "--format", "json"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert told["adopted"] == {"step": 1, "files": ["a.jsonl"]}
    assert Path(shop.home / "done" / "a.jsonl").exists()


def test_a_snapshot_of_a_run_that_went_back_is_continued(shop: Shop) -> None:
    for name, examples in (("a.jsonl", [1, 2, 3, 4]), ("b.jsonl", [5, 6, 7, 8])):
        shop.drop(name, examples)
        assert shop.train() == 0
    assert shop.train(back_to="checkpoint-2", drop=("b.jsonl",)) == 0
    shop.drop("c.jsonl", [9, 10, 11, 12])
    assert shop.train() == 0
    take(shop)
    restore(shop)
    shop.drop("d.jsonl", [13, 14])

    assert shop.train() == 0
    assert sorted(shop.trained()) == [1, 2, 3, 4, 9, 10, 11, 12, 13, 14]
    assert guard(str(shop.run)) == shop.run / "checkpoint-5"


def test_a_run_that_was_deleted_is_named_as_empty(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    shutil.rmtree(shop.run)
    shop.drop("b.jsonl", [3, 4])

    with pytest.raises(
        TrainRefused, match=r"run: has no checkpoint \(a training would begin at step 0\), and its ledger"
    ):
        shop.train()
