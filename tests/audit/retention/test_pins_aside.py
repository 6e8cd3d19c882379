"""Pins of steps that are given up."""

import os
from pathlib import Path

import pytest

from audit.retention.pins import detach, pin
from audit.retention.pins_aside import set_pins_aside
from audit.testing.runs import make_run

NAME = "checkpoint-300"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = Path(make_run(tmp_path / "run"))
    pin(str(made), NAME)
    return made


def _into_quarantine(run: Path) -> Path:
    home = run / ".audit" / "quarantine"
    home.mkdir()
    os.rename(run / NAME, home / NAME)
    return home


def test_a_pin_of_files_that_are_in_quarantine_is_removed(run: Path) -> None:
    home = _into_quarantine(run)

    assert set_pins_aside(str(run), NAME.__eq__, "given up", None) == [NAME]

    assert os.listdir(run / ".audit" / "pinned") == []
    assert os.listdir(home) == [NAME]


def test_a_pin_that_is_the_last_copy_is_moved(run: Path) -> None:
    detach(str(run), NAME)
    home = _into_quarantine(run)

    set_pins_aside(str(run), NAME.__eq__, "given up", None)

    assert sorted(os.listdir(home)) == [NAME, f"{NAME}.1"]


def test_other_pins_stay(run: Path) -> None:
    assert set_pins_aside(str(run), "checkpoint-200".__eq__, "given up", None) == []
    assert os.listdir(run / ".audit" / "pinned") == [NAME]
