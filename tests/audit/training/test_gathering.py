"""Small files are trained together as one batch, each with its own record and place in the end."""

import json
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from audit.api import verify
from audit.errors import ConfigError
from audit.ledger.store import open_ledger
from audit.training.config import read_train_config
from audit.training.gathering import Gathering
from audit.training.run_state import TrainRefused
from tests.audit.training.conftest import Shop, legs, plan
from tests.audit.training.places import places, put
from tests.audit.training.test_chaos import Clock, counted
from tests.audit.training.test_watching import Daemon, Enough
from tests.audit.training.toy import POISON, Kill, kill_at, write_rows

Make = Callable[..., Shop]


def grouped(make_shop: Make, group: int = 6, toy: str = "per_step = 4\nsave_steps = 1", more: str = "") -> Shop:
    return make_shop(data=f"group = {group}\n{more}", toy=toy)


def drop(shop: Shop, *sizes: int) -> list[int]:
    """Files of so many examples; returns all of them."""
    examples = []
    for number, size in enumerate(sizes):
        names = list(range(100 * (number + 1), 100 * (number + 1) + size))
        shop.drop(f"{number}.jsonl", names)
        examples += names
    return examples


def rows(shop: Shop, event: str) -> list[str]:
    ledger = open_ledger(str(shop.run), write=False)
    assert ledger is not None
    found = [row.content["file"] for row in ledger.rows() if row.kind == "batch" and row.content["event"] == event]
    ledger.close()
    return found


def test_files_are_taken_together_until_so_many_examples_wait(make_shop: Make) -> None:
    shop = grouped(make_shop)
    examples = drop(shop, 3, 1, 2, 5, 1, 1)
    assert shop.train() == 0
    assert [leg["examples"] for leg in legs(shop)] == [6, 6, 1]
    assert [[part[1] for part in leg.get("parts", [])] for leg in legs(shop)] == [
        ["0.jsonl", "1.jsonl", "2.jsonl"],
        ["3.jsonl", "4.jsonl"],
        [],
    ]
    assert sorted(shop.trained()) == sorted(examples)
    assert rows(shop, "retired") == [f"{number}.jsonl" for number in range(6)]
    assert [event["file"] for event in shop.said("retired")] == [f"{number}.jsonl" for number in range(6)]
    assert shop.names("done") == [f"{number}.jsonl" for number in range(6)]
    assert sorted(os.listdir(shop.inbox)) == []
    assert verify(str(shop.run)).verdict == "sound"


def test_each_file_is_known_by_itself_afterwards(make_shop: Make) -> None:
    shop = grouped(make_shop)
    drop(shop, 2, 2)
    shop.train()
    shutil.copy(shop.home / "done" / "1.jsonl", shop.inbox / "again.jsonl")
    text = (shop.home / "done" / "0.jsonl").read_text()
    (shop.inbox / "rows.jsonl").write_text(text.rstrip("\n"))
    assert shop.train() == 1
    assert [event["reason"] for event in shop.said("duplicate")] == [
        "the same bytes were trained as 1.jsonl, steps 1 to 1",
        "the same rows were trained as 0.jsonl, steps 1 to 1",
    ]


def test_the_same_rows_twice_in_one_batch_are_trained_once(make_shop: Make) -> None:
    shop = grouped(make_shop)
    shop.drop("a.jsonl", [1, 2])
    (shop.inbox / "b.jsonl").write_text((shop.inbox / "a.jsonl").read_text().rstrip("\n"))
    assert shop.train() == 1
    assert sorted(shop.trained()) == [1, 2]
    assert shop.said("duplicate")[0]["reason"] == "has the same rows as a.jsonl, which waits to be trained with it"


def test_a_bad_row_is_that_of_its_file_and_the_others_are_trained(make_shop: Make) -> None:
    shop = grouped(make_shop, group=20)
    shop.drop("a.jsonl", [1, 2, 3])
    (shop.inbox / "b.jsonl").write_text(f'\n{{"input_ids": [7, 7]}}\n\n{{"input_ids": [{POISON}, 1]}}\n')
    shop.drop("c.jsonl", [4])
    assert shop.train() == 1
    assert sorted(shop.trained()) == [1, 2, 3, 4]
    (said,) = shop.said("rejected")
    assert (said["file"], said["reason"]) == ("b.jsonl", "row 4: is poison")
    assert shop.names("rejected") == ["b.jsonl"]
    assert shop.names("done") == ["a.jsonl", "c.jsonl"]
    assert verify(str(shop.run)).verdict == "sound"


def test_files_of_another_format_are_another_batch(make_shop: Make) -> None:
    shop = grouped(make_shop, group=20)
    drop(shop, 2, 2)
    (shop.inbox / "2.jsonl").write_text('{"text": "x"}\n')
    shop.drop("3.jsonl", [7])
    found = plan(shop)
    assert [leg.work.file.name for leg in found.legs] == ["0.jsonl and 1 more", "2.jsonl", "3.jsonl"]


def test_the_bits_are_those_of_the_run_that_was_never_killed(tmp_path: Path) -> None:
    def life(home: Path, *kills: str, late: bool = False) -> list[int]:
        shop = Shop(home, data="group = 9", toy="per_step = 2\nsave_steps = 2")
        drop(shop, 3, 4, 3, 2, 1)
        for kill in kills:
            shop.backend.tick = kill_at(kill)
            with pytest.raises(Kill):
                shop.train()
            if late:  # a file that comes later is in no batch that was begun
                shop.drop(f"00-{kill.replace(' ', '-')}.jsonl", [10**5 + len(kill)])
        shop.backend.tick = lambda what: None
        shop.train()
        return shop.trained()

    never = life(tmp_path / "never")
    assert life(tmp_path / "killed", "step 1", "step 4", "saving 6") == never
    assert life(tmp_path / "late", "step 1", "step 4", late=True)[:10] == never[:10]


def test_killed_before_many_acts_every_example_is_trained_once() -> None:
    for moment in range(0, 140, 10):
        with tempfile.TemporaryDirectory() as home:
            shop, clock = Shop(Path(home), data="group = 5", toy="per_step = 2\nsave_steps = 2\nlimit = 2"), Clock()
            shop.backend.tick = clock.tick
            examples = drop(shop, 2, 1, 3, 2, 4)
            for left in (moment, moment // 2):
                clock.left = left
                try:
                    with counted(clock):
                        shop.train()
                except Kill:
                    pass
                finally:
                    clock.left = None
            shop.train()
            assert Counter(shop.trained()) == Counter(examples), moment
            assert shop.names("done") == [f"{number}.jsonl" for number in range(5)], moment
            assert shop.names("inbox") == [], moment
            assert verify(str(shop.run)).verdict == "sound", moment


@pytest.mark.slow
def test_killed_before_each_single_act() -> None:
    for moment in range(500):
        with tempfile.TemporaryDirectory() as home:
            shop, clock = Shop(Path(home), data="group = 5", toy="per_step = 2\nsave_steps = 2\nlimit = 2"), Clock()
            shop.backend.tick = clock.tick
            examples = drop(shop, 2, 1, 3, 2, 4)
            clock.left = moment
            try:
                with counted(clock):
                    shop.train()
            except Kill:
                pass
            else:
                return
            finally:
                clock.left = None
            shop.train()
            assert Counter(shop.trained()) == Counter(examples), moment
            assert shop.names("done") == [f"{number}.jsonl" for number in range(5)], moment
            assert verify(str(shop.run)).verdict == "sound", moment
    pytest.fail("no call ever came to its end")


def begun(make_shop: Make) -> Shop:
    """Two of the three steps of a batch of three files are trained."""
    shop = grouped(make_shop, group=9, toy="per_step = 3\nsave_steps = 1")
    drop(shop, 3, 3, 3)
    shop.backend.stop_after = 2
    shop.train()
    shop.backend.stop_after = None
    return shop


def test_a_file_that_is_replaced_in_the_middle_is_trained_to_its_end_as_it_was(make_shop: Make) -> None:
    shop = begun(make_shop)
    write_rows(shop.home / "new", [9001]).replace(shop.inbox / "1.jsonl")
    (shop.inbox / "2.jsonl").unlink()
    assert shop.train() == 0
    assert sorted(shop.trained()) == [100, 101, 102, 200, 201, 202, 300, 301, 302, 9001]
    assert shop.names("done") == ["0.jsonl", "1.1.jsonl", "1.jsonl", "2.jsonl"]


def test_a_file_that_is_gone_in_the_middle_is_named_and_the_rest_set_aside_if_asked(make_shop: Make) -> None:
    shop = begun(make_shop)
    inode = (shop.inbox / "1.jsonl").stat().st_ino
    for path in list(shop.inbox.iterdir()):
        if path.stat().st_ino == inode:
            path.unlink()
    with pytest.raises(TrainRefused, match=r"^1\.jsonl: is trained to step 2, .*neither in the inbox nor in done"):
        shop.train()
    assert shop.names("inbox") == ["0.jsonl", "2.jsonl"]
    shop.drop("3.jsonl", [7])
    assert shop.train(skip_lost=True) == 1
    assert shop.names("rejected") == ["0.jsonl", "2.jsonl"]
    assert shop.names("inbox") == []
    times = Counter(shop.trained())
    assert set(times.values()) == {1}
    assert times[7] == 1


def test_a_file_that_is_gone_before_the_first_step_is_left_out(make_shop: Make) -> None:
    shop = grouped(make_shop, group=9, toy="per_step = 3\nsave_steps = 1")
    drop(shop, 3, 3, 3)
    shop.backend.tick = kill_at("step 1")
    with pytest.raises(Kill):
        shop.train()
    (shop.inbox / "1.jsonl").unlink()
    assert shop.train() == 0
    assert sorted(shop.trained()) == [100, 101, 102, 300, 301, 302]
    assert shop.names("done") == ["0.jsonl", "2.jsonl"]


def rolled_back(make_shop: Make) -> Shop:
    """A batch of one file, and one of three that must be trained again."""
    shop = grouped(make_shop, group=3, toy="per_step = 3\nsave_steps = 1")
    shop.drop("0.jsonl", [1, 2, 3])
    shop.train()
    for name, examples in (("a.jsonl", [4]), ("b.jsonl", [5]), ("c.jsonl", [6])):
        shop.drop(name, examples)
    shop.train()
    (shop.run / "checkpoint-2" / "scheduler.pt").unlink()
    shutil.rmtree(shop.run / ".audit" / "pinned")
    return shop


def test_after_a_step_back_all_files_of_a_batch_are_trained_again_from_done(make_shop: Make) -> None:
    shop = rolled_back(make_shop)
    before = shop.trained(2)
    assert shop.train() == 0
    assert shop.trained() == before
    assert shop.names("done") == ["0.jsonl", "a.jsonl", "b.jsonl", "c.jsonl"]


def test_after_a_step_back_what_is_gone_is_named_and_the_others_train_again_if_asked(make_shop: Make) -> None:
    shop = rolled_back(make_shop)
    (shop.home / "done" / "b.jsonl").unlink()
    with pytest.raises(TrainRefused, match=r"^b\.jsonl: the run went back to step 1"):
        shop.train()
    assert shop.train(skip_lost=True) == 0
    assert sorted(shop.trained()) == [1, 2, 3, 4, 6]
    assert shop.names("done") == ["0.jsonl", "a.jsonl", "c.jsonl"]


def test_a_snapshot_knows_every_file(make_shop: Make) -> None:
    shop = grouped(make_shop)
    drop(shop, 2, 2)
    shop.train()
    from audit.ledger.timeline_rows import batch_rows_until

    ledger = open_ledger(str(shop.run), write=False)
    assert ledger is not None
    kept = [event.row()[1]["event"] for event, _ in batch_rows_until(ledger.rows(), 1)]
    ledger.close()
    assert kept == ["leg", "finished", "retired", "retired"]


def test_a_daemon_waits_for_more_and_not_for_ever(make_shop: Make) -> None:
    pytest.importorskip("watchfiles", reason="the extra watch is not installed")
    shop = grouped(make_shop, group=4, more="group-seconds = 1.5")
    shop.drop("a.jsonl", [1])
    daemon = Daemon(shop)
    started = time.monotonic()
    begun: list[tuple[str, float]] = []

    def later() -> None:
        time.sleep(0.5)
        write_rows(shop.inbox / ".b", [2, 3]).rename(shop.inbox / "b.jsonl")

    def when(event: object) -> None:
        assert isinstance(event, dict)
        if event["event"] == "batch":
            begun.append((event["file"], time.monotonic() - started))
        if event["event"] == "waiting" and begun:
            raise Enough

    thread = threading.Thread(target=later)
    thread.start()
    daemon.run(when)
    thread.join()
    ((name, seconds),) = begun
    assert name == "a.jsonl and 1 more"
    assert seconds >= 1.4


def test_a_daemon_begins_as_soon_as_there_are_enough(make_shop: Make) -> None:
    pytest.importorskip("watchfiles", reason="the extra watch is not installed")
    shop = grouped(make_shop, group=3, more="group-seconds = 3600")
    shop.drop("a.jsonl", [1])
    daemon = Daemon(shop)

    def when(event: object) -> None:
        assert isinstance(event, dict)
        if event["event"] == "retired" and event["file"] == "b.jsonl":
            raise Enough

    def later() -> None:
        time.sleep(0.5)
        write_rows(shop.inbox / ".b", [2, 3]).rename(shop.inbox / "b.jsonl")

    thread = threading.Thread(target=later)
    thread.start()
    daemon.run(when)
    thread.join()
    assert sorted(shop.trained()) == [1, 2, 3]


def test_a_clock_of_another_machine_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inbox").mkdir()
    data = places(tmp_path, group=9, group_seconds=0.2)
    from audit.training.mixing import Source

    source = Source(put(data, "a.jsonl"), "d", "r", 1)
    gathering = Gathering(data, True)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    gathering.add(source, "text")
    assert gathering.left() > 0
    time.sleep(0.25)
    gathering.begin()
    gathering.add(source, "text")
    assert gathering.left() == 0


def test_a_backend_that_reads_files_itself_takes_them_one_by_one(make_shop: Make) -> None:
    shop = grouped(make_shop)
    shop.backend.reads_rows = False
    with pytest.raises(ConfigError, match=r"data\.group: the backend toy reads data files itself"):
        read_train_config(str(shop.home / "train.toml"), shop.registry)


def test_the_learning_rate_ends_with_the_last_of_several_groups(make_shop: Make) -> None:
    shop = make_shop(data="group = 4", toy="per_step = 4", more="[schedule]\ndecay_steps = 2")
    drop(shop, 2, 2, 1, 1, 1)
    assert shop.train(decay=True) == 0
    assert [(leg["first_step"], leg["last_step"], leg["horizon"]) for leg in legs(shop)] == [(0, 1, 2), (1, 2, 2)]


def test_a_row_that_cannot_be_written_as_json_is_refused_by_file_and_number(make_shop: Make) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    shop = grouped(make_shop)
    shop.drop("a.jsonl", [1])
    column = [[{"x": 1.0}], [{"x": float("nan")}]]
    parquet.write_table(pa.table({"input_ids": [[2, 2], [3, 3]], "tools": column}), shop.inbox / "b.parquet")
    assert shop.train() == 1
    assert sorted(shop.trained()) == [1]
    assert json.loads(json.dumps(shop.said("rejected")))[0]["reason"].startswith("row 2: cannot be written as JSON")


def three_batches(make_shop: Make) -> Shop:
    """A file, a group of three, a file; two steps each."""
    shop = grouped(make_shop, group=4, toy="per_step = 2\nsave_steps = 1")
    shop.drop("0.jsonl", [1, 2, 3, 4])
    assert shop.train() == 0
    for name, examples in (("a.jsonl", [11]), ("b.jsonl", [12, 13]), ("c.jsonl", [14])):
        shop.drop(name, examples)
    assert shop.train() == 0
    shop.drop("d.jsonl", [21, 22, 23, 24])
    assert shop.train() == 0
    return shop


def test_a_file_of_a_group_is_dropped_and_the_others_are_trained_again(make_shop: Make) -> None:
    shop = three_batches(make_shop)

    assert shop.train(back_to="checkpoint-2", drop=("b.jsonl",)) == 0

    assert sorted(shop.trained()) == [1, 2, 3, 4, 11, 14, 21, 22, 23, 24]
    assert sorted(shop.said("back")[0]["again"]) == ["a.jsonl", "c.jsonl", "d.jsonl"]
    assert shop.names("rejected") == ["b.jsonl"]
    assert shop.names("done") == ["0.jsonl", "a.jsonl", "c.jsonl", "d.jsonl"]
    shop.drop("again.jsonl", [12, 13])
    assert shop.train() == 1
    (shop.inbox / "rows.jsonl").write_text((shop.home / "rejected" / "b.jsonl").read_text().rstrip("\n"))
    assert shop.train() == 1  # the same rows in other bytes
    assert 12 not in shop.trained()
    shop.drop("again.jsonl", [12, 13])
    shop.drop("more.jsonl", [31])
    assert shop.train(allow_dropped=True) == 0
    assert sorted(shop.trained()) == [1, 2, 3, 4, 11, 12, 13, 14, 21, 22, 23, 24, 31]
    assert verify(str(shop.run)).verdict == "sound"


def test_all_files_of_a_group_are_dropped_by_its_name(make_shop: Make) -> None:
    shop = three_batches(make_shop)

    assert shop.train(back_to="checkpoint-2", drop=("a.jsonl and 2 more",)) == 0

    assert sorted(shop.trained()) == [1, 2, 3, 4, 21, 22, 23, 24]
    assert shop.names("rejected") == ["a.jsonl", "b.jsonl", "c.jsonl"]


def test_a_file_of_a_group_that_is_partly_in_the_checkpoint_is_not_dropped(make_shop: Make) -> None:
    shop = three_batches(make_shop)

    with pytest.raises(
        TrainRefused, match=r"b\.jsonl: was trained together .* of step 2 or earlier, or move it out of"
    ):
        shop.train(back_to="checkpoint-3", drop=("b.jsonl",))
    with pytest.raises(TrainRefused, match=r"b\.jsonl: was trained by step 4: go back to a checkpoint of step 2 or"):
        shop.train(back_to="checkpoint-4", drop=("b.jsonl",))
    (shop.home / "done" / "b.jsonl").rename(shop.home / "b.jsonl")
    assert shop.train(back_to="checkpoint-3", skip_lost=True) == 1
    assert shop.names("rejected") == ["a.jsonl", "c.jsonl"]
    times = Counter(shop.trained())
    assert set(times.values()) == {1}
    assert {1, 2, 3, 4, 21, 22, 23, 24} < set(times)


def test_killed_at_any_moment_a_group_of_which_a_file_is_dropped_is_taken_apart_once(tmp_path: Path) -> None:
    for moment in range(0, 30, 3):

        def make(moment: int = moment, **parts: Any) -> Shop:
            return Shop(tmp_path / str(moment), **parts)

        shop, clock = three_batches(make), Clock()
        clock.left = moment
        with suppress(Kill), counted(clock):
            shop.train(back_to="checkpoint-2", drop=("b.jsonl",))
        clock.left = None
        if not shop.run.joinpath(".audit/quarantine").is_dir():
            continue  # it had not begun
        shop.train()
        assert sorted(shop.trained()) == [1, 2, 3, 4, 11, 14, 21, 22, 23, 24], moment
        assert shop.names("rejected") == ["b.jsonl"], moment
        assert verify(str(shop.run)).verdict == "sound", moment
