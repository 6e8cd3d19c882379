"""`report.file`: the page is written after each batch, and a place that cannot be written to stops nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.backend.training import LegFailed
from audit.errors import ConfigError
from audit.training.run_state import TrainRefused
from tests.audit.training.conftest import Shop


def shop(home: Path, file: str) -> Shop:
    return Shop(home, more=f'[report]\nfile = "{file}"')


def notes(here: Shop) -> list[Any]:
    return [event["text"] for event in here.events if event["event"] == "note" and "report.file" in event["text"]]


def test_the_page_is_there_after_each_batch(tmp_path: Path) -> None:
    here = shop(tmp_path / "shop", "report.html")
    here.drop("a.jsonl", [1, 2, 3])
    here.train()
    page = here.home / "report.html"
    first = page.read_text()
    here.drop("b.jsonl", [4, 5, 6, 7])
    here.train()

    assert "data-reload" in first
    assert "b.jsonl" not in first
    assert "b.jsonl" in page.read_text()
    assert notes(here) == []
    assert [item.name for item in here.home.iterdir() if item.name.endswith(".tmp")] == []


def test_the_page_has_what_a_leg_that_failed_has_saved(tmp_path: Path) -> None:
    here = shop(tmp_path / "shop", "report.html")
    here.drop("a.jsonl", [1, 2, 3])
    here.train()
    here.drop("b.jsonl", [4, 5, 6, 7])
    here.backend.tick = fail_at("step 4")  # checkpoint-3 was saved by then
    with pytest.raises(TrainRefused, match="step 4 went wrong"):
        here.train()

    assert "checkpoint-3" in (here.home / "report.html").read_text()
    assert notes(here) == []


def test_the_page_has_what_the_guard_moved_before_it_refused(tmp_path: Path) -> None:
    here = shop(tmp_path / "shop", "report.html")
    here.drop("a.jsonl", [1, 2, 3, 4, 5, 6, 7, 8])
    here.train()
    (here.run / "checkpoint-4" / "optimizer.pt").unlink()
    shutil.rmtree(here.run / ".audit" / "pinned")
    (here.home / "done" / "a.jsonl").unlink()
    with pytest.raises(TrainRefused, match="neither in the inbox nor in done"):
        here.train()

    page = (here.home / "report.html").read_text()
    assert "checkpoint-3" in page
    assert "checkpoint-4" not in page


def test_a_refusal_before_there_is_any_checkpoint_needs_no_page(tmp_path: Path) -> None:
    here = shop(tmp_path / "shop", "report.html")
    here.drop("a.jsonl", [1, 2, 3])
    here.backend.tick = fail_at("step 1")
    with pytest.raises(TrainRefused, match="step 1 went wrong"):
        here.train()

    assert notes(here) == []


def fail_at(what: str) -> Callable[[str], None]:
    def tick(now: str) -> None:
        if now == what:
            raise LegFailed(f"{what} went wrong")

    return tick


def test_a_page_that_cannot_be_written_is_noted_and_training_continues(tmp_path: Path) -> None:
    here = shop(tmp_path / "shop", "nowhere/report.html")
    here.drop("a.jsonl", [1, 2, 3])

    assert here.train() == 0
    assert len(notes(here)) == 1
    assert "is not written" in notes(here)[0]


def test_only_a_page_is_overwritten(tmp_path: Path) -> None:
    here = shop(tmp_path / "shop", "notes.html")
    (here.home / "notes.html").write_text("mine")
    here.drop("a.jsonl", [1, 2, 3])
    here.train()

    assert "is not a page of audit report" in notes(here)[0]
    assert (here.home / "notes.html").read_text() == "mine"


@pytest.mark.parametrize("place", ["inbox/r.jsonl", "done/a.jsonl", "run/.audit/ledger.db"])
def test_a_page_among_data_or_records_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(ConfigError, match=r"report\.file: .* is in the directory of"):
        shop(tmp_path / "shop", place).train()


def test_nothing_is_written_into_a_checkpoint(tmp_path: Path) -> None:
    here = shop(tmp_path / "shop", "run/checkpoint-3/report.html")
    here.drop("a.jsonl", [1, 2, 3])
    here.train()

    assert "inside a checkpoint" in notes(here)[0]
