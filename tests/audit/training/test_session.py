"""Batches through a toy trainer: every example once, whatever happens between."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.api import verify
from audit.errors import AuditError
from audit.ledger.store import open_ledger
from audit.ledger.timeline import timeline_of
from audit.retention.lock import RunLock
from audit.training.run_state import TrainRefused
from tests.audit.training.conftest import Shop
from tests.audit.training.toy import POISON, Kill

Make = Callable[..., Shop]


def kill_at(what: str) -> Callable[[str], None]:
    """A tick that kills at the first moment of this name."""
    left = [what]

    def tick(now: str) -> None:
        if now in left:
            left.remove(now)
            raise Kill(now)

    return tick


def test_files_are_trained_in_the_order_of_their_names_and_moved(shop: Shop) -> None:
    shop.drop("b.jsonl", [10, 11, 12])
    shop.drop("a.jsonl", [0, 1, 2, 3, 4])

    assert shop.train() == 0

    assert sorted(shop.trained()[:5]) == [0, 1, 2, 3, 4]
    assert sorted(shop.trained()[5:]) == [10, 11, 12]
    assert shop.names("inbox") == []
    assert shop.names("done") == ["a.jsonl", "b.jsonl"]
    assert [event["checkpoint"] for event in shop.said("finished")] == ["checkpoint-3", "checkpoint-5"]
    assert verify(str(shop.run)).verdict == "sound"


def test_nothing_to_train_is_fine(shop: Shop) -> None:
    assert shop.train() == 0
    assert shop.events == []


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


@pytest.mark.parametrize(
    "moment", ["step 1", "saving 3", "saved 3", "step 5", "saving 6", "step 7", "saving 8", "saved 8"]
)
def test_killed_in_a_batch_the_next_call_goes_on_where_the_checkpoint_is(moment: str, make_shop: Make) -> None:
    shop = make_shop()
    shop.drop("a.jsonl", list(range(8)))
    shop.drop("b.jsonl", list(range(10, 17)))
    shop.backend.tick = kill_at(moment)
    with pytest.raises(Kill):
        shop.train()

    assert shop.train() == 0

    assert sorted(shop.trained()) == [*range(8), *range(10, 17)]
    assert sorted(shop.trained()[:8]) == list(range(8))
    assert verify(str(shop.run)).verdict == "sound"


def test_the_same_file_dropped_twice_is_set_aside(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    shop.drop("again.jsonl", [1, 2])

    assert shop.train() == 0

    (event,) = shop.said("duplicate")
    assert event["reason"] == "the same bytes were trained as a.jsonl, steps 1 to 1"
    assert shop.trained() == [1, 2] or shop.trained() == [2, 1]
    assert shop.names("rejected") == ["again.jsonl"]


def test_two_copies_at_once_are_trained_once(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2, 3])
    shop.drop("b.jsonl", [1, 2, 3])
    assert shop.train() == 0
    assert sorted(shop.trained()) == [1, 2, 3]


def test_a_bad_row_sets_the_file_aside_untouched_and_the_others_go_on(shop: Shop) -> None:
    bad = shop.inbox / "a.jsonl"
    bad.write_text('{"input_ids": [1, 2]}\n{"input_ids": "no"}\n')
    text = bad.read_text()
    shop.drop("b.jsonl", [1])

    assert shop.train() == 1

    assert (shop.home / "rejected" / "a.jsonl").read_text() == text
    assert "row 2" in shop.said("rejected")[0]["reason"]
    assert shop.trained() == [1]


def test_a_row_that_only_the_trainer_refuses_sets_the_file_aside_as_well(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, POISON, 3])
    shop.drop("b.jsonl", [7, 8])
    assert shop.train() == 1
    assert sorted(shop.trained()) == [7, 8]
    assert shop.names("rejected") == ["a.jsonl"]
    assert shop.train() == 0


def test_a_file_that_was_repaired_is_trained(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, POISON])
    shop.train()
    shop.drop("a.jsonl", [1, 2])
    assert shop.train() == 0
    assert sorted(shop.trained()) == [1, 2]


def test_a_failure_leaves_the_data_and_says_so_the_second_time(make_shop: Make) -> None:
    shop = make_shop(toy='fail = "it burns"')
    shop.drop("a.jsonl", [1, 2, 3])
    with pytest.raises(TrainRefused, match=r"a\.jsonl: failed at step 2: it burns$"):
        shop.train()
    assert shop.names("inbox") == ["a.jsonl"]

    config = shop.home / "train.toml"
    config.write_text(config.read_text().replace("[toy]", "[toy]\nsave_steps = 99"))
    shutil.rmtree(shop.run / "checkpoint-2")
    with pytest.raises(TrainRefused, match=r"it failed at this step before \(the second time\)"):
        shop.train(allow_fresh=True)


def test_a_stopped_batch_is_taken_up_in_the_middle(shop: Shop) -> None:
    shop.drop("a.jsonl", list(range(9)))
    shop.backend.stop_after = 2
    assert shop.train() == 143
    assert shop.names("inbox") == ["a.jsonl"]
    assert [event["step"] for event in shop.said("stopped")] == [2]

    shop.backend.stop_after = None
    assert shop.train() == 0
    assert shop.said("batch")[0]["first_example"] == 4
    assert sorted(shop.trained()) == list(range(9))


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
    assert "checkpoint-1: goes on, but not bit for bit: rng_state.pth" in shop.said("note")[0]["text"]
    assert sorted(shop.trained()) == [1, 2, 3, 4]


def test_going_back_over_a_whole_batch_trains_it_again_from_done(make_shop: Make) -> None:
    shop = make_shop(toy="save_steps = 99")
    for name, first in (("a", 0), ("b", 10), ("c", 20)):
        shop.drop(f"{name}.jsonl", list(range(first, first + 6)))
    shop.train()
    for step in (6, 9):
        (shop.run / f"checkpoint-{step}" / "scheduler.pt").unlink()
    shutil.rmtree(shop.run / ".audit" / "pinned")

    assert shop.train() == 0

    assert [event["file"] for event in shop.said("batch")] == ["b.jsonl", "c.jsonl"]
    assert sorted(shop.trained()) == [*range(6), *range(10, 16), *range(20, 26)]
    assert shop.names("done") == ["a.jsonl", "b.jsonl", "c.jsonl"]


def test_where_such_a_file_is_gone_nothing_is_trained_unless_it_is_given_up(make_shop: Make) -> None:
    shop = make_shop(toy="save_steps = 99", data='after = "delete"')
    shop.drop("a.jsonl", [1, 2])
    shop.drop("b.jsonl", [3, 4])
    shop.train()
    assert shop.names("done") == []
    (shop.run / "checkpoint-2" / "scheduler.pt").unlink()
    shutil.rmtree(shop.run / ".audit" / "pinned")
    shop.drop("c.jsonl", [5, 6])

    with pytest.raises(TrainRefused, match=r"b\.jsonl: the run went back to step 1.*--skip-lost"):
        shop.train()
    assert shop.train(skip_lost=True) == 0
    assert sorted(shop.trained()) == [1, 2, 5, 6]

    shop.drop("b.jsonl", [3, 4])  # found again
    assert shop.train() == 0
    assert sorted(shop.trained()) == [1, 2, 3, 4, 5, 6]


def test_a_file_put_back_after_a_step_back_is_trained_again(make_shop: Make) -> None:
    shop = make_shop(toy="save_steps = 99", data='after = "delete"')
    shop.drop("a.jsonl", [1, 2])
    shop.drop("b.jsonl", [3, 4])
    shop.train()
    (shop.run / "checkpoint-2" / "scheduler.pt").unlink()
    shutil.rmtree(shop.run / ".audit" / "pinned")
    shop.drop("b-from-the-backup.jsonl", [3, 4])
    assert shop.train() == 0
    assert sorted(shop.trained()) == [1, 2, 3, 4]
    assert shop.names("inbox") == []


def test_after_a_step_back_a_copy_that_was_set_aside_is_as_good_as_the_file(make_shop: Make) -> None:
    shop = make_shop(toy="save_steps = 99")
    shop.drop("a.jsonl", [1, 2])
    shop.drop("b.jsonl", [3, 4])
    shop.train()
    shop.drop("copy.jsonl", [3, 4])
    shop.train()
    (shop.home / "done" / "b.jsonl").unlink()
    (shop.run / "checkpoint-2" / "scheduler.pt").unlink()
    shutil.rmtree(shop.run / ".audit" / "pinned")

    assert shop.train() == 0

    assert sorted(shop.trained()) == [1, 2, 3, 4]
    assert shop.names("rejected") == ["copy.jsonl"]


def test_a_changed_batch_size_in_the_middle_of_a_batch_loses_no_example(shop: Shop) -> None:
    shop.drop("a.jsonl", list(range(11)))
    shop.backend.stop_after = 2
    shop.train()
    config = shop.home / "train.toml"
    config.write_text(config.read_text().replace("per_step = 2", "per_step = 3"))
    shop.backend.stop_after = None
    assert shop.train() == 0
    assert sorted(shop.trained()) == list(range(11))


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


def test_a_file_taken_away_before_its_first_step_is_forgotten(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.backend.tick = kill_at("step 1")
    with pytest.raises(Kill):
        shop.train()
    (shop.inbox / "a.jsonl").unlink()
    shop.drop("b.jsonl", [3])
    assert shop.train() == 0
    assert shop.trained() == [3]


def test_only_one_process_trains_a_run(shop: Shop) -> None:
    shop.drop("a.jsonl", [1])
    with RunLock(str(shop.run), "trained"), pytest.raises(AuditError, match="is being trained"):
        shop.train()


def test_the_ledger_tells_the_batches(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2, 3])
    shop.train()
    ledger = open_ledger(str(shop.run), write=False)
    assert ledger is not None
    (batch,) = timeline_of(ledger.rows()).batches
    ledger.close()
    assert (batch.file, batch.state, batch.first_step, batch.step, batch.examples) == ("a.jsonl", "retired", 0, 2, 3)
    assert len(batch.losses) == 2


def test_without_a_ledger_nothing_is_trained(shop: Shop) -> None:
    shop.drop("a.jsonl", [1])
    shop.train()
    (shop.run / ".audit" / "ledger.db").write_bytes(b"not a ledger, but long enough to be looked at")
    shop.drop("b.jsonl", [2])
    with pytest.raises(AuditError, match="it alone knows which examples were trained"):
        shop.train()
    assert shop.names("inbox") == ["b.jsonl"]


def test_a_horizon_that_a_batch_would_pass_is_refused(make_shop: Make) -> None:
    shop = make_shop(more="[schedule]\ntotal_steps = 3")
    shop.drop("a.jsonl", [1, 2, 3, 4])
    shop.drop("b.jsonl", [5, 6, 7, 8])
    with pytest.raises(TrainRefused, match=r"b\.jsonl: would be trained to step 4, but the schedule ends at step 3"):
        shop.train()
    assert shop.names("done") == ["a.jsonl"]
    assert shop.names("inbox") == ["b.jsonl"]
