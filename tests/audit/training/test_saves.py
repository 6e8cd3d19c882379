"""Saves within a leg are judged beside it, each once, and none is waited for."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from audit.manager import load
from audit.options import Options
from audit.testing.runs import make_run
from audit.training import saves
from audit.training.saves import Saves

REGISTRY = load()
PATIENCE = 60


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def watched(run: str, first: int = 0) -> Saves:
    return Saves(run, first, Options(ledger=False), REGISTRY)


def taken(found: Saves, count: int) -> list[Any]:
    """What was found, as soon as it is so much."""
    told: list[Any] = []
    for _ in range(100 * PATIENCE):
        told += found.taken()
        if len(told) >= count:
            break
        time.sleep(0.01)
    return told


def test_each_save_is_judged_once_and_only_when_the_next_step_was_trained(run: str) -> None:
    found = watched(run)
    found.reached(300)
    assert [item.step for item in taken(found, 2)] == [100, 200]
    found.reached(301)
    (last,) = taken(found, 1)
    assert (last.step, last.verdict, last.resumable_step) == (300, "sound", 300)
    assert found.end() == []
    assert found.taken() == []


def test_what_was_saved_before_the_leg_is_not_its_own(run: str) -> None:
    found = watched(run, 200)
    found.reached(301)
    assert [item.step for item in taken(found, 1)] == [300]
    assert found.end() == []


def test_a_broken_save_is_named(run: str) -> None:
    Path(run, "checkpoint-300", "optimizer.pt").unlink()
    found = watched(run, 200)
    found.reached(301)
    (last,) = taken(found, 1)
    assert (last.verdict, last.resumable_step) == ("broken", 200)
    found.end()


def test_the_end_breaks_a_judgement_off_and_says_what_is_left(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def slow(path: str, options: Options, registry: Any, progress: Any) -> None:
        begun.set()
        for _ in range(100 * PATIENCE):
            progress(0, 1)
            time.sleep(0.01)

    monkeypatch.setattr(saves, "verify_report", slow)
    found = watched(run)
    found.reached(250)
    assert begun.wait(PATIENCE)

    assert found.end() == [100, 200]
    assert found.taken() == []


def test_a_real_judgement_can_be_broken_off(run: str) -> None:
    found = watched(run)
    found.reached(301)
    left = found.end()
    assert left in ([], [100, 200, 300])
    assert len(found.taken()) == 3 - len(left)


def test_a_run_that_cannot_be_judged_ends_nothing(tmp_path: Path) -> None:
    found = watched(str(tmp_path / "none"))
    found.reached(1)
    found.reached(2)
    assert found.end() == []
    os.makedirs(tmp_path / "odd" / "checkpoint-1")
    found = watched(str(tmp_path / "odd"))
    found.reached(2)
    found.end()
