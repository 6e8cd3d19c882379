"""`report.file`: the page is written after each batch, and a place that cannot be written to stops nothing."""

from pathlib import Path
from typing import Any

import pytest

from audit.errors import ConfigError
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
