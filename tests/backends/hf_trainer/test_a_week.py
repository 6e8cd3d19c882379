"""A week of `audit train --watch` with the real Trainer, killed, starved and damaged: benchmarks/week.py holds."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

import audit

WEEK = Path(__file__).parents[3] / "benchmarks" / "week.py"


@pytest.mark.slow
def test_after_a_week_every_good_example_was_trained_once_and_nothing_is_lost(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    pytest.importorskip("watchfiles", reason="the extra watch is not installed")
    seed, home = random.randrange(1000), tmp_path / "week"
    done = subprocess.run(
        [sys.executable, str(WEEK), "--keep", str(home), "--seed", str(seed)],
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if key != "CI"},
    )
    told = f"seed {seed}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, told
    for line in (
        "05-bad.jsonl: set aside in rejected/05-bad.jsonl: row 2",
        "08-again.jsonl: set aside in rejected/08-again.jsonl: the same bytes were trained as 02.jsonl",
        "moved to .audit/quarantine/",
        "SOUND",
        "each trained once",
        "undisturbed: the same bits",
        "All of it holds.",
    ):
        assert line in done.stdout, told
    assert done.stdout.count("kill -9") == 3, told

    run = home / "current_model"  # a copy of what lay on the small disk
    report = audit.verify(str(run if run.exists() else home / "disk" / "current_model"))
    assert (report.verdict, report.resume_from) == ("sound", "checkpoint-144")


@pytest.mark.slow
def test_the_week_after_ends_in_the_bits_of_an_undisturbed_one(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra hf is not installed")
    seed = random.randrange(1000)
    done = subprocess.run(
        [sys.executable, str(WEEK.with_name("week_after.py")), "--keep", str(tmp_path / "week"), "--seed", str(seed)],
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if key != "CI"},
    )
    told = f"seed {seed}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, told
    assert done.stdout.count("kill -9") == 3, told
    for line in ("(history/given-up)", "no poisoned one", "All of it holds."):
        assert line in done.stdout, told
