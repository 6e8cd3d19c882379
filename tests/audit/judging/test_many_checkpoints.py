"""The work of a verification is proportional to the number of checkpoints, not to its square, and it keeps little."""

import cProfile
import gc
import os
import pstats
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pytest

from audit.judging.auditor import Auditor, Judged
from audit.judging.decision import Limits, decide
from audit.manager import load
from audit.options import Options
from audit.testing.runs import make_run

FEW, MANY = range(1, 61), range(1, 121)
MOST_KEPT = {"quick": 12_000, "full": 30_000}
"""Bytes of memory for each checkpoint: at quick depth 20 000 of them take less than 300 MB with the program."""


def small(path: Path, steps: Iterable[int]) -> str:
    return make_run(path, list(steps), layers=1, save_steps=1, logging_steps=20)


def judged(path: str, depth: str) -> Judged:
    return Auditor(Options(settle_seconds=0, depth=depth, jobs=1), load()).judge(path)


def calls(path: str, depth: str, findings: int = 0) -> int:
    """How many functions are called to judge a run and to decide; the same every time, unlike seconds."""
    profile = cProfile.Profile()
    profile.enable()
    run, report = judged(path, depth)
    decide(run, report.findings, Limits())
    profile.disable()
    assert len(report.findings) == findings
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


def kept(path: str, depth: str) -> int:
    """How many bytes of memory a judgement takes while it is held."""
    gc.collect()
    tracemalloc.start()
    try:
        held = judged(path, depth)
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held.report.findings == ()
    return size


@pytest.mark.parametrize("depth", ["quick", pytest.param("full", marks=pytest.mark.slow)])
def test_twice_as_many_checkpoints_are_twice_the_work(tmp_path: Path, depth: str) -> None:
    few, many = small(tmp_path / "few", FEW), small(tmp_path / "many", MANY)
    calls(few, depth)  # imports, compiled patterns

    assert calls(many, depth) < 2.15 * calls(few, depth)


def test_twice_as_many_findings_are_twice_the_work(tmp_path: Path) -> None:
    few, many = small(tmp_path / "few", FEW), small(tmp_path / "many", MANY)
    for run in (few, many):
        for name in os.listdir(run):
            Path(run, name, "rng_state.pth").unlink()
            Path(run, name, "scheduler.pt").write_bytes(b"")
    calls(few, "quick", 2 * len(FEW))

    assert calls(many, "quick", 2 * len(MANY)) < 2.15 * calls(few, "quick", 2 * len(FEW))


def test_histories_with_nothing_in_common_are_not_compared_with_each_other(tmp_path: Path) -> None:
    work = []
    for count in (0, 40, 80):
        run = str(tmp_path / str(count))
        for step in range(20, 20 + max(count, 4)):
            make_run(run, [step], layers=1, save_steps=1, logging_steps=5, max_steps=200, seed=step)
        profile = cProfile.Profile()
        opened = Auditor(Options(settle_seconds=0, depth="quick"), load()).open(run)
        profile.enable()
        lineages = opened.lineages
        profile.disable()
        assert len(lineages) == max(count, 4)
        work.append(int(pstats.Stats(profile).total_calls))  # type: ignore[attr-defined]

    assert work[2] < 2.15 * work[1]


@pytest.mark.parametrize("depth", [pytest.param("quick", marks=pytest.mark.slow), "full"])
def test_little_is_kept_of_a_checkpoint(tmp_path: Path, depth: str) -> None:
    few, many = small(tmp_path / "few", FEW), small(tmp_path / "many", MANY)
    kept(few, depth)  # imports, compiled patterns

    each = (kept(many, depth) - kept(few, depth)) / (len(MANY) - len(FEW))

    assert each < MOST_KEPT[depth]
