"""audit demo: what it shows and its exit code; the training itself is tests/backends/hf_trainer."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.api import verify
from audit.backend.training import Note
from audit.cli import demo
from audit.retention.pins import pin
from audit.testing.runs import make_run
from audit.training.events import FileRetired
from tests.audit.cli.conftest import Ended, one_line

Audit = Callable[..., Ended]


@pytest.fixture
def _trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of the size that the demonstration trains, made without torch."""

    def train_batches(home: str, registry: Any, emit: Any) -> str:
        run = make_run(os.path.join(home, "current_model"), steps=(20, 40), save_steps=20)
        verify(run, registry=registry)
        pin(run, "checkpoint-40")
        emit(Note("trained"))
        emit(FileRetired("batch_001.jsonl", os.path.join(home, "done", "batch_001.jsonl")))
        return run

    monkeypatch.setattr(demo, "train_batches", train_batches)


def test_a_directory_that_is_there_is_left_alone(audit: Audit, tmp_path: Path) -> None:
    assert "is already there; name a new directory" in one_line(audit("demo", "--keep", str(tmp_path)))


@pytest.mark.usefixtures("_trained")
def test_each_breakage_is_shown_with_what_the_audit_says(audit: Audit) -> None:
    code, out, err = audit("demo")
    assert (code, err) == (0, "")
    assert "batch_001.jsonl: moved to done/batch_001.jsonl\n" in out
    assert out.count("$ audit guard current_model/\n") == 4
    assert out.count("skipped checkpoint-40: ") == 4
    assert out.count("current_model/checkpoint-20\n\n") == 3
    assert out.count("current_model/.audit/pinned/checkpoint-40\n\n") == 1  # the file is missing in the run alone
    assert out.endswith("a sound one handed out.\n")


@pytest.mark.usefixtures("_trained")
def test_with_keep_the_runs_stay(audit: Audit, tmp_path: Path) -> None:
    code, _, _ = audit("demo", "--keep", str(tmp_path / "demo"))
    assert code == 0
    assert sorted(os.listdir(tmp_path / "demo")) == [*(f"broken-{number}" for number in range(1, 5)), "current_model"]


@pytest.mark.usefixtures("_trained")
def test_a_breakage_that_is_not_found_is_said_and_fails(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.training.demo._damages", lambda: [("nothing broken", "resumes", lambda *_: None)])
    code, out, _ = audit("demo")
    assert code == 1
    assert "please report this" in out.splitlines()[-1]
