"""What a training notes of its steps: seldom, never in the way, and believed only while it is its own."""

import json
import os
from pathlib import Path

import pytest

from audit.ledger import progress
from audit.ledger.progress import Progress, ProgressFile, read_progress

LONG_AGO, LATER = "2026-01-01T00:00:00Z", "2999-01-01T00:00:00Z"


@pytest.fixture
def run(tmp_path: Path) -> str:
    (tmp_path / ".audit").mkdir()
    return str(tmp_path)


def written(run: str) -> Path:
    return Path(run, ".audit", "progress.json")


def test_a_step_is_noted_with_what_was_logged_last(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    noted = ProgressFile(run, 40)
    noted.advance(1, 2.5, 1e-4)
    noted.advance(2, None, None)

    assert read_progress(run, LONG_AGO) == Progress(2, 40, 2.5, 1e-4)
    assert os.listdir(Path(run, ".audit")) == ["progress.json"]


def test_it_is_written_at_most_once_a_second(run: str) -> None:
    noted = ProgressFile(run, None)
    for step in range(1, 100):
        noted.advance(step, None, None)

    assert read_progress(run, LONG_AGO) == Progress(1, None, None, None)


def test_what_an_earlier_training_noted_is_not_believed(run: str) -> None:
    ProgressFile(run, None).advance(7, None, None)

    assert read_progress(run, LATER) is None
    assert read_progress(run, "") is None


@pytest.mark.parametrize(
    "change",
    [{"step": "7"}, {"step": True}, {"step": -1}, {"step": 1 << 60}, {"last_step": 1.5}, {"loss": "low"},
     {"learning_rate": [1]}, {"time": None}, {"time": "yesterday"}],
)  # fmt: skip
def test_a_file_of_another_shape_is_none(run: str, change: dict[str, object]) -> None:
    ProgressFile(run, None).advance(7, None, None)
    assert read_progress(run, LONG_AGO) is not None
    written(run).write_text(json.dumps({**json.loads(written(run).read_text()), **change}))

    assert read_progress(run, LONG_AGO) is None


@pytest.mark.parametrize("content", ["", "[]", "7", "{", "[" * 4000])
def test_garbage_is_none(run: str, content: str) -> None:
    written(run).write_text(content)

    assert read_progress(run, LONG_AGO) is None


def test_a_fifo_a_link_and_a_directory_are_none_and_are_not_written_to(run: str, tmp_path: Path) -> None:
    assert read_progress(run, LONG_AGO) is None
    os.mkfifo(written(run))
    assert read_progress(run, LONG_AGO) is None
    written(run).unlink()
    (tmp_path / "mine").write_text("mine")
    written(run).symlink_to(tmp_path / "mine")
    ProgressFile(run, None).advance(7, None, None)
    assert read_progress(run, LONG_AGO) is None
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_run_that_cannot_be_written_to_stops_no_training(tmp_path: Path) -> None:
    ProgressFile(str(tmp_path / "nowhere"), None).advance(7, None, None)

    assert os.listdir(tmp_path) == []
