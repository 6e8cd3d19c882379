"""Once a day, what was trained: each day is told once, whatever ends and begins in between."""

import os
from pathlib import Path

import pytest

from audit.audit_dir import DAY_TOLD
from audit.ledger.batches import Batch
from audit.ledger.timeline import Timeline
from audit.training.batch_log import BatchLog
from audit.training.days import Days, days
from audit.training.events import DayTrained, Event
from tests.audit.training.conftest import Shop


def batch(name: str, first: int, last: int, ended: str, examples: int | None = 4, state: str = "retired") -> Batch:
    losses = ((first + 1, 3.0 - first / 10), (last, 3.0 - last / 10))
    return Batch(name, name, state, first, last, last, examples, 1, 1, losses, "", ended, None, 0)


class Log(BatchLog):
    def __init__(self, *batches: Batch) -> None:
        super().__init__("nowhere")
        self.batches = batches

    def timeline(self) -> Timeline:
        return Timeline(batches=self.batches)


LOG = Log(
    batch("a", 0, 2, "2026-11-20T12:00:00Z"),
    batch("b", 2, 4, "2026-11-21T11:00:00Z"),
    batch("c", 4, 5, "2026-11-21T12:00:00Z"),
    batch("d", 5, 6, "2026-11-21T12:30:00Z", state="failed"),
    batch("e", 6, 8, "2026-11-23T12:00:00Z", examples=None),
)


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_a_day_is_what_was_trained_to_its_end_on_it() -> None:
    assert list(days(LOG.timeline(), "2026-11-21", "2026-11-23")) == [
        DayTrained("2026-11-21", 2, 8, 2, 5, 2.8, 2.5),
    ]
    assert [day.day for day in days(LOG.timeline(), "2026-11-20", "2026-11-30")] == [
        "2026-11-20",
        "2026-11-21",
        "2026-11-23",
    ]
    assert next(days(LOG.timeline(), "2026-11-22", "2026-11-30")).examples is None


def test_each_day_is_told_once_over_many_calls(tmp_path: Path) -> None:
    told: list[Event] = []

    def call(today: str, *times: str) -> None:
        made = Days(str(tmp_path), True, LOG, told.append)
        for day in (today, *times):
            made.tell(day)

    call("2026-11-20")
    assert told == []
    call("2026-11-20", "2026-11-20", "2026-11-21", "2026-11-21")
    assert [event.day for event in told if isinstance(event, DayTrained)] == ["2026-11-20"]
    call("2026-11-21")
    call("2026-11-25")
    call("2026-11-25", "2026-11-26")
    assert [event.day for event in told if isinstance(event, DayTrained)] == ["2026-11-20", "2026-11-21", "2026-11-23"]


@pytest.mark.parametrize("content", ["", "yesterday", "2026-99-99", "\xff"])
def test_a_file_of_another_content_tells_nothing_and_is_written_anew(content: str, tmp_path: Path) -> None:
    (tmp_path / ".audit").mkdir()
    (tmp_path / DAY_TOLD).write_text(content)
    told: list[Event] = []
    Days(str(tmp_path), True, LOG, told.append).tell("2026-11-25")
    assert told == []
    assert (tmp_path / DAY_TOLD).read_text() == "2026-11-25"


def test_a_link_in_its_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".audit").mkdir()
    (tmp_path / "mine").write_text("keep")
    os.symlink("../mine", tmp_path / DAY_TOLD)
    Days(str(tmp_path), True, LOG, lambda event: None).tell("2026-11-25")
    assert (tmp_path / "mine").read_text() == "keep"


def test_a_link_is_not_read(tmp_path: Path) -> None:
    (tmp_path / ".audit").mkdir()
    (tmp_path / "mine").write_text("2026-11-19")
    os.symlink("../mine", tmp_path / DAY_TOLD)
    told: list[Event] = []
    Days(str(tmp_path), True, LOG, told.append).tell("2026-11-25")
    assert told == []
    assert (tmp_path / DAY_TOLD).read_text() == "2026-11-25"


def test_a_pipe_in_its_place_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / ".audit").mkdir()
    os.mkfifo(tmp_path / DAY_TOLD)
    told: list[Event] = []
    Days(str(tmp_path), True, LOG, told.append).tell("2026-11-25")
    assert told == []
    assert (tmp_path / DAY_TOLD).read_text() == "2026-11-25"


def test_nothing_is_kept_if_nobody_is_told(shop: Shop) -> None:
    shop.drop("a.jsonl", [1])
    shop.train()
    assert not (shop.run / DAY_TOLD).exists()
