"""The daemon: what it takes for a whole file, what it waits for, what it copies away."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from audit.errors import AuditError
from audit.training import data_files, watching
from audit.training.config import read_train_config
from audit.training.events import Event
from audit.training.loop import TrainOptions, train
from audit.training.process import here
from audit.training.run_state import TrainRefused
from audit.training.session import Session
from audit.training.watching import Watcher
from tests.audit.training.conftest import Shop
from tests.audit.training.test_inbox import linux
from tests.audit.training.toy import write_rows

Make = Callable[..., Shop]


class Enough(BaseException):
    """The test has seen what it wanted to see."""


class Daemon:
    """A daemon in this process. ``when`` is called with each event, and may do things or raise Enough."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.threads: list[threading.Thread] = []

    def run(self, when: Callable[[Mapping[str, Any]], None]) -> None:
        def emit(event: Event) -> None:
            self.shop.emit(event)
            when(self.shop.events[-1])

        config, trainer = read_train_config(str(self.shop.home / "train.toml"), self.shop.registry)
        with pytest.raises(Enough):
            train(config, trainer, self.shop.registry, emit, TrainOptions(watch=True), run_leg=here)

    def meanwhile(self, act: Callable[[], None]) -> None:
        self.threads.append(threading.Thread(target=act, daemon=True))
        self.threads[-1].start()


@pytest.fixture
def daemon(shop: Shop) -> Iterator[Daemon]:
    made = Daemon(shop)
    yield made
    for thread in made.threads:
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("watchfiles", reason="the extra watch is not installed")
    monkeypatch.setattr(watching, "STEP_MS", 20)
    monkeypatch.setattr(watching, "LONGEST_REST", 0.1)


def settle(shop: Shop, seconds: float) -> None:
    config = shop.home / "train.toml"
    config.write_text(config.read_text().replace("settle-seconds = 0", f"settle-seconds = {seconds}"))


def finished(shop: Shop, count: int) -> Callable[[Mapping[str, Any]], None]:
    def when(event: Mapping[str, Any]) -> None:
        if event["event"] == "waiting" and len(shop.said("finished")) == count:
            raise Enough

    return when


def test_each_file_that_is_dropped_is_trained(shop: Shop, daemon: Daemon) -> None:
    number = [0]

    def drop(event: Mapping[str, Any]) -> None:
        if event["event"] == "waiting":
            if number[0] == 3:
                raise Enough
            shop.drop(f"{number[0]}.jsonl", [10 * number[0], 10 * number[0] + 1])
            number[0] += 1

    daemon.run(drop)
    assert sorted(shop.trained()) == [0, 1, 10, 11, 20, 21]
    assert [event["file"] for event in shop.said("finished")] == ["0.jsonl", "1.jsonl", "2.jsonl"]


def test_many_files_at_once_are_trained_in_the_order_of_their_names(shop: Shop, daemon: Daemon) -> None:
    def drop(event: Mapping[str, Any]) -> None:
        if event["event"] == "waiting" and not shop.said("finished"):
            for number in (7, 3, 9, 1, 5, 0, 8, 2, 6, 4):
                shop.drop(f".{number}", [number]).rename(shop.inbox / f"{number}.jsonl")
        finished(shop, 10)(event)

    daemon.run(drop)
    assert [event["file"] for event in shop.said("finished")] == [f"{number}.jsonl" for number in range(10)]
    assert sorted(shop.trained()) == list(range(10))


def test_a_file_that_is_written_slowly_in_pieces_is_trained_once_it_is_whole(shop: Shop, daemon: Daemon) -> None:
    settle(shop, 0.4)

    def write() -> None:
        with (shop.inbox / "a.jsonl").open("w") as stream:
            for number in range(6):
                stream.write(f'{{"input_ids": [{number},')
                stream.flush()
                time.sleep(0.1)
                stream.write(f" {number}]}}\n")
                stream.flush()
                time.sleep(0.1)

    def when(event: Mapping[str, Any]) -> None:
        if event["event"] == "waiting" and not daemon.threads:
            daemon.meanwhile(write)
        elif event["event"] == "finished":
            raise Enough

    daemon.run(when)
    assert sorted(shop.trained()) == list(range(6))
    assert shop.names("rejected") == []


@linux
def test_a_writer_that_pauses_for_long_is_waited_for_as_long_as_it_has_the_file_open(
    shop: Shop, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(shop, 0.1)
    monkeypatch.setattr(watching, "LONG_OPEN", 0.2)

    def write() -> None:
        with (shop.inbox / "a.jsonl").open("w") as stream:
            stream.write('{"input_ids": [1, 1]}\n{"input_')
            stream.flush()
            time.sleep(0.7)
            stream.write('ids": [2, 2]}\n')

    def when(event: Mapping[str, Any]) -> None:
        if event["event"] == "waiting" and not daemon.threads:
            daemon.meanwhile(write)
        elif event["event"] == "finished":
            raise Enough

    daemon.run(when)
    assert sorted(shop.trained()) == [1, 2]
    (note,) = shop.said("note")
    assert note["text"] == "a.jsonl: a program still has it open for writing; it is trained once it is closed"


def test_what_is_written_aside_and_renamed_is_never_seen_before(shop: Shop, daemon: Daemon) -> None:
    def when(event: Mapping[str, Any]) -> None:
        if event["event"] == "waiting" and not shop.said("finished"):
            for aside in (".a.jsonl.Xy12", "a.jsonl.part", "a.jsonl.tmp", "_a.jsonl"):
                (shop.inbox / aside).write_text('{"input')
            write_rows(shop.inbox / ".a.jsonl.Xy12", [1, 2]).rename(shop.inbox / "a.jsonl")
        finished(shop, 1)(event)

    daemon.run(when)
    assert sorted(shop.trained()) == [1, 2]
    assert shop.names("inbox") == ["_a.jsonl", "a.jsonl.part", "a.jsonl.tmp"]


def test_a_file_that_shrinks_and_grows_again_is_trained_as_it_is_in_the_end(shop: Shop, daemon: Daemon) -> None:
    settle(shop, 0.3)

    def write() -> None:
        for names in ([1, 2, 3, 4], [1], [], [1, 2]):
            write_rows(shop.inbox / "a.jsonl", names)
            time.sleep(0.1)

    def when(event: Mapping[str, Any]) -> None:
        if event["event"] == "waiting" and not daemon.threads:
            daemon.meanwhile(write)
        elif event["event"] == "finished":
            raise Enough

    daemon.run(when)
    assert sorted(shop.trained()) == [1, 2]
    assert shop.said("rejected") == []


def test_an_inbox_that_vanishes_is_waited_for(shop: Shop, daemon: Daemon) -> None:
    def come_back() -> None:
        time.sleep(0.3)
        shop.inbox.mkdir()
        shop.drop("a.jsonl", [1, 2])

    def when(event: Mapping[str, Any]) -> None:
        if event["event"] == "waiting" and not daemon.threads:
            daemon.meanwhile(lambda: shutil.rmtree(shop.inbox))
        elif event["event"] == "note" and "does not exist" in event["text"]:
            daemon.meanwhile(come_back)
        finished(shop, 1)(event)

    daemon.run(when)
    assert [event["text"].partition(f"{shop.inbox} ")[2] for event in shop.said("note")] == [
        "does not exist; waiting for it",
        "exists again",
    ]
    assert shop.trained() in ([1, 2], [2, 1])


def test_an_inbox_that_is_not_there_at_first_is_waited_for_as_well(shop: Shop, daemon: Daemon) -> None:
    shop.inbox.rmdir()

    def when(event: Mapping[str, Any]) -> None:
        if event["event"] == "note" and not daemon.threads:
            daemon.meanwhile(shop.inbox.mkdir)
        elif event["event"] == "waiting":
            raise Enough

    daemon.run(when)
    assert len(shop.said("note")) == 2


def test_without_the_daemon_an_inbox_that_is_not_there_is_an_error(shop: Shop) -> None:
    shop.inbox.rmdir()
    with pytest.raises(
        AuditError, match=r"data\.inbox: .*inbox does not exist; make the directory, or correct the path"
    ):
        shop.train()


def test_an_idle_daemon_neither_judges_the_run_nor_speaks(
    shop: Shop, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.drop("a.jsonl", [1])
    rounds, looks = [0], [0]
    first, scan = Session.next, data_files.waiting

    def count_rounds(self: Session) -> Any:
        rounds[0] += 1
        return first(self)

    def count_looks(data: Any) -> Any:
        looks[0] += 1
        if looks[0] == 8:
            raise Enough
        return scan(data)

    monkeypatch.setattr(Session, "next", count_rounds)
    monkeypatch.setattr("audit.training.watching.waiting", count_looks)
    monkeypatch.setattr(watching, "LONGEST_REST", 0.05)
    daemon.run(lambda event: None)
    assert rounds == [2]
    assert len(shop.said("waiting")) == 1


def test_a_bad_file_is_set_aside_and_the_daemon_goes_on(shop: Shop, daemon: Daemon) -> None:
    def when(event: Mapping[str, Any]) -> None:
        if event["event"] == "waiting" and not shop.said("rejected"):
            (shop.inbox / "a.jsonl").write_text("not JSON\n")
            shop.drop("b.jsonl", [1])
        finished(shop, 1)(event)

    daemon.run(when)
    assert shop.names("rejected") == ["a.jsonl"]


def test_a_batch_that_fails_ends_the_daemon_and_stays(make_shop: Make) -> None:
    shop = make_shop(toy='fail = "it burns"')
    shop.drop("a.jsonl", [1, 2])
    shop.drop("b.jsonl", [3, 4])
    with pytest.raises(TrainRefused, match=r"a\.jsonl: failed at step 1: it burns"):
        shop.train(watch=True)
    assert shop.names("inbox") == ["a.jsonl", "b.jsonl"]


# -- Snapshots --------------------------------------------------------------------------------------------------------


def watcher(shop: Shop) -> tuple[Watcher, Session]:
    config, trainer = read_train_config(str(shop.home / "train.toml"), shop.registry)
    session = Session(config, trainer, shop.registry, shop.emit)
    return Watcher(session), session


@pytest.fixture
def snapping(make_shop: Make) -> Shop:
    shop = make_shop(more='snapshots = "snapshots"')
    shop.drop("a.jsonl", [1, 2])
    shop.train()
    return shop


def test_a_snapshot_is_taken_once_a_day_on_which_something_was_trained(snapping: Shop) -> None:
    watch, session = watcher(snapping)
    for day in ("2026-11-21", "2026-11-21", "2026-11-22"):
        watch.daily_snapshot(day)
    assert snapping.names("snapshots") == ["2026-11-21"]

    session.conclusion.trained += 1
    watch.daily_snapshot("2026-11-21")
    watch.daily_snapshot("2026-11-22")
    assert snapping.names("snapshots") == ["2026-11-21", "2026-11-22"]
    assert [os.path.relpath(event["path"], snapping.home) for event in snapping.said("snapshot")] == [
        "snapshots/2026-11-21/checkpoint-1",
        "snapshots/2026-11-22/checkpoint-1",
    ]


def test_a_daemon_that_is_started_again_takes_no_second_snapshot_of_the_day(snapping: Shop) -> None:
    watcher(snapping)[0].daily_snapshot("2026-11-21")
    snapping.drop("b.jsonl", [3, 4])
    snapping.train()
    watch, session = watcher(snapping)
    watch.daily_snapshot("2026-11-21")
    assert snapping.names("snapshots/2026-11-21") == [".audit", "checkpoint-1"]

    session.conclusion.trained += 1
    watch.daily_snapshot("2026-11-22")
    assert "checkpoint-2" in snapping.names("snapshots/2026-11-22")


def test_a_snapshot_that_cannot_be_taken_is_told_once_and_tried_again_after_the_next_batch(snapping: Shop) -> None:
    (snapping.home / "snapshots").write_text("a file")
    watch, session = watcher(snapping)
    watch.daily_snapshot("2026-11-21")
    watch.daily_snapshot("2026-11-21")
    (note,) = snapping.said("note")
    assert note["text"].startswith("no snapshot: ")

    (snapping.home / "snapshots").unlink()
    session.conclusion.trained += 1
    watch.daily_snapshot("2026-11-21")
    assert snapping.names("snapshots") == ["2026-11-21"]


def test_where_nothing_was_trained_or_none_is_asked_for_there_is_no_snapshot(shop: Shop, make_shop: Make) -> None:
    shop.run.mkdir()
    watcher(shop)[0].daily_snapshot("2026-11-21")
    empty = make_shop(more='snapshots = "snapshots"')
    empty.run.mkdir()
    watcher(empty)[0].daily_snapshot("2026-11-21")
    assert shop.names("snapshots") == empty.names("snapshots") == []


def test_a_daemon_that_never_rests_takes_its_snapshot_between_two_batches(make_shop: Make) -> None:
    shop = make_shop(more='snapshots = "snapshots"')
    shop.drop("a.jsonl", [1, 2])
    shop.drop("b.jsonl", [3, 4])

    def when(event: Mapping[str, Any]) -> None:
        if event["event"] == "waiting":
            raise Enough

    Daemon(shop).run(when)
    kinds = [event["event"] for event in shop.events]
    assert kinds.index("snapshot") < kinds.index("batch", kinds.index("batch") + 1)


def test_while_it_waits_what_trained_is_told_so_again_and_again(shop: Shop) -> None:
    count = 0

    def rest() -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise Enough

    config, trainer = read_train_config(str(shop.home / "train.toml"), shop.registry)
    session = Session(config, trainer, shop.registry, shop.emit)
    with pytest.raises(Enough):
        Watcher(session, rest).wait()
