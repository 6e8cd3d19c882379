"""A last.ckpt that is behind is a note: Lightning's ``ckpt_path="last"`` would train the steps since then again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from audit import guard, verify
from audit.testing.judging import check
from tests.accelerate import settle
from tests.lightning import make_directories, make_lightning

OLDEST, NEWEST = "epoch=0-step=10.ckpt", "epoch=2-step=30.ckpt"


@pytest.mark.parametrize("make", [make_lightning, make_directories])
def test_a_last_one_that_is_behind_is_named(tmp_path: Path, make: Callable[..., Path]) -> None:
    run = make(tmp_path / "run", (10, 20))
    make(run, (30,), last=False) if make is make_directories else _add(run, 30)
    settle(run)

    (finding,) = verify(run).findings

    assert (finding.rule, finding.severity.value) == ("steps/last-behind", "info")
    assert finding.message == f"last.ckpt is of step 20, and {NEWEST} of step 30"
    assert (finding.expected, finding.actual) == (30, 20)
    assert guard(run) == run / NEWEST


def _add(run: Path, step: int) -> None:
    other = make_lightning(run.with_name("other"), (step,), last=False)
    for path in other.iterdir():
        shutil.copy(path, run)


def test_a_last_one_that_is_level_or_alone_passes(tmp_path: Path) -> None:
    assert check(str(make_lightning(tmp_path / "level", (10, 20))), "steps/last-behind") == []
    alone = make_lightning(tmp_path / "alone", (10,))
    (alone / OLDEST).unlink()
    assert check(str(alone), "steps/last-behind") == []


def test_a_name_that_only_begins_so_is_not_the_last_one(tmp_path: Path) -> None:
    run = make_lightning(tmp_path / "run", (20,), last=False)
    _add(run, 10)
    (run / OLDEST).rename(run / "last-good.ckpt")

    assert check(str(run), "steps/last-behind") == []


def test_a_file_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    run = make_lightning(tmp_path / "run", (10, 20))
    _add(run, 30)
    (run / "epoch=9-step=90.ckpt").write_bytes(b"no archive")  # what step it is of is not known
    settle(run)

    (finding,) = check(str(run), "steps/last-behind")

    assert finding.message == f"last.ckpt is of step 20, and {NEWEST} of step 30"
