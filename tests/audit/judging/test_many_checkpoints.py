"""The work of a verification is proportional to the number of checkpoints, not to its square."""

import cProfile
import pstats
from pathlib import Path

import pytest

from audit.judging.auditor import Auditor
from audit.manager import load
from audit.options import Options
from audit.testing.runs import make_run


def calls(path: str, depth: str) -> int:
    """How many functions are called to judge a run; the same every time, unlike seconds."""
    auditor = Auditor(Options(settle_seconds=0, depth=depth, jobs=1), load())
    profile = cProfile.Profile()
    profile.enable()
    report = auditor.judge(path).report
    profile.disable()
    assert report.findings == ()
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


@pytest.mark.parametrize("depth", ["quick", "full"])
def test_twice_as_many_checkpoints_are_twice_the_work(tmp_path: Path, depth: str) -> None:
    few = make_run(tmp_path / "few", range(1, 61), layers=1, save_steps=1, logging_steps=20)
    many = make_run(tmp_path / "many", range(1, 121), layers=1, save_steps=1, logging_steps=20)
    calls(few, depth)  # imports, compiled patterns

    assert calls(many, depth) < 2.15 * calls(few, depth)
