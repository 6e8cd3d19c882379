"""Batches through a toy trainer: every example once, whatever happens between."""

import os
import shutil
from collections.abc import Callable

import pytest

from audit.api import verify
from audit.errors import AuditError, ConfigError
from audit.ledger.batch_events import Dissolved, Rejected
from audit.training.batch_log import BatchLog
from audit.training.config import read_train_config
from audit.training.data_files import DataFiles
from audit.training.run_state import TrainRefused
from audit.training.session import Session
from tests.audit.training.conftest import Shop
from tests.audit.training.toy import POISON, Kill, kill_at

Make = Callable[..., Shop]


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

    assert shop.train() == 1

    (event,) = shop.said("duplicate")
    assert event["reason"] == "the same bytes were trained as a.jsonl, steps 1 to 1"
    assert shop.trained() == [1, 2] or shop.trained() == [2, 1]
    assert shop.names("rejected") == ["again.jsonl"]


@pytest.mark.parametrize(
    "text",
    [
        '{"input_ids": [1, 1]}\n{"input_ids": [2, 2]}',
        '\ufeff{"input_ids":[1,1]}\r\n\n{"input_ids":[2,2],"id":7,"labels":null}\r\n',
    ],
    ids=["without the last newline", "written by another program"],
)
def test_the_same_rows_in_other_bytes_are_set_aside(text: str, shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    (shop.inbox / "again.jsonl").write_text(text)

    assert shop.train() == 1

    (event,) = shop.said("duplicate")
    assert event["reason"] == "the same rows were trained as a.jsonl, steps 1 to 1"
    assert len(shop.trained()) == 2
    shop.drop("other.jsonl", [2, 1])  # another order is another file
    assert shop.train() == 0


@pytest.mark.parametrize("target", ["/etc/passwd", "done/a.jsonl", "missing"])
def test_a_link_in_the_inbox_is_refused_by_name_and_not_followed(target: str, shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    link = shop.inbox / "passwd.jsonl"
    link.symlink_to(target if target[0] == "/" else shop.home / target)
    shop.drop("z.jsonl", [3])
    assert shop.train() == (0 if target == "missing" else 1)
    if target != "missing":
        (event,) = shop.said("rejected")
        assert event["file"] == "passwd.jsonl"
        assert event["reason"] == "is a symbolic link; put the file itself here, or a hard link to it"
        assert (shop.home / "rejected" / "passwd.jsonl").is_symlink()
    assert sorted(shop.trained()) == [1, 2, 3]
    assert not any(path.is_symlink() for path in shop.inbox.glob(".held-*"))


def test_two_copies_at_once_are_trained_once(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2, 3])
    shop.drop("b.jsonl", [1, 2, 3])
    assert shop.train() == 1
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


@pytest.mark.parametrize("row", ['{"question": "a", "answer": "b"}', '{"input_ids": "no"}'])
def test_what_every_waiting_file_is_refused_for_empties_no_inbox(row: str, shop: Shop) -> None:
    for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
        (shop.inbox / name).write_text(f"{row}\n")
    with pytest.raises(TrainRefused, match=r"all 3 files in .* are refused for the same reason, so none is moved: "):
        shop.train()
    assert shop.names("inbox") == ["a.jsonl", "b.jsonl", "c.jsonl"]
    assert shop.names("rejected") == []

    shop.drop("d.jsonl", [1])  # now it is the fault of the three
    assert shop.train() == 1
    assert shop.names("rejected") == ["a.jsonl", "b.jsonl", "c.jsonl"]
    assert shop.trained() == [1]


def test_a_fault_of_the_configuration_that_the_trainer_finds_moves_no_file(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ConfigError("data: no row can be trained with this configuration")

    shop.drop("a.jsonl", [1])
    shop.drop("b.jsonl", [2])
    monkeypatch.setattr(shop.backend, "train", refuse)
    with pytest.raises(ConfigError, match="no row can be trained"):
        shop.train()
    assert (shop.names("inbox"), shop.names("rejected")) == (["a.jsonl", "b.jsonl"], [])


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


def test_of_several_files_that_are_gone_each_is_asked_for_or_given_up(make_shop: Make) -> None:
    shop = make_shop(toy="save_steps = 99", data='after = "delete"')
    for name, first in (("a", 1), ("b", 3), ("c", 5)):
        shop.drop(f"{name}.jsonl", [first, first + 1])
    shop.train()
    for step in (2, 3):
        (shop.run / f"checkpoint-{step}" / "scheduler.pt").unlink()
    shutil.rmtree(shop.run / ".audit" / "pinned")
    shop.drop("b.jsonl", [3, 4])

    with pytest.raises(TrainRefused, match=r"c\.jsonl: .* neither in the inbox nor in done.*--skip-lost"):
        shop.train()
    assert sorted(shop.trained()) == [1, 2, 3, 4]
    assert shop.train(skip_lost=True) == 0
    assert sorted(shop.trained()) == [1, 2, 3, 4]


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


def test_what_was_adopted_as_trained_is_set_aside_and_what_is_new_is_trained(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    shutil.rmtree(shop.run / ".audit")
    shop.drop("b.jsonl", [3, 4])
    assert shop.train(adopt=True) == 0

    shop.drop("again.jsonl", [1, 2])
    shop.train()

    assert sorted(shop.trained()) == [1, 2, 3, 4]
    assert shop.names("rejected") == ["again.jsonl"]


def test_a_file_taken_away_before_its_first_step_is_forgotten(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    shop.backend.tick = kill_at("step 1")
    with pytest.raises(Kill):
        shop.train()
    (shop.inbox / "a.jsonl").unlink()
    shop.drop("b.jsonl", [3])
    assert shop.train() == 0
    assert shop.trained() == [3]
    aside = [event for event in BatchLog(str(shop.run)).events() if isinstance(event, Rejected | Dissolved)]
    reason = "was removed before its first step was trained"
    assert [(type(event), event.file) for event in aside] == [(Rejected, "a.jsonl")]
    assert shop.said("note")[0]["text"] == f"a.jsonl: {reason}"


def test_a_rule_that_does_not_exist_is_said_before_anything_is_trained(shop: Shop) -> None:
    shop.drop("a.jsonl", [1, 2])
    with pytest.raises(AuditError, match="no rule is named 'loss/sawtoth'"):
        shop.train(accept=("loss/sawtoth",), reason="x")
    assert shop.said("batch") == []


@pytest.mark.parametrize(("settle", "seconds"), [(0, 0.1), (3, 3.0)])
def test_a_file_that_is_written_to_while_it_is_read_is_looked_at_again_soon(
    settle: int, seconds: float, make_shop: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make_shop()
    config = shop.home / "train.toml"
    config.write_text(config.read_text().replace("settle-seconds = 0", f"settle-seconds = {settle}"))
    os.utime(shop.drop("a.jsonl", [1, 2]), (1e9, 1e9))
    monkeypatch.setattr(DataFiles, "digest", lambda *_: "")
    session = Session(*read_train_config(str(config), shop.registry), shop.registry, shop.emit)

    assert session.next() is None
    assert session.unsettled == seconds
