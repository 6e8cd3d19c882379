"""Directories that Lightning itself saves with two processes: judged, handed out, resumed; damaged ones refused.

``tox run -e lightning``; without DeepSpeed its part is skipped.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from audit import guard, verify
from tests.accelerate import settle

pytest.importorskip("lightning", reason="the dependency group lightning is not installed")

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("sharded_script.py")
SECOND, THIRD = "epoch=1-step=20.ckpt", "epoch=2-step=30.ckpt"


def train(run: Path, epochs: int, strategy: str, *more: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPT), str(run), str(epochs), strategy, *more]
    # What DeepSpeed compiles is beside the run: a process that is killed leaves a lock there, and the next one waits.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_EXTENSIONS_DIR": str(run.parent / "extensions")}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=environment)


def digest(done: "subprocess.CompletedProcess[str]") -> str:
    found = re.search(r"^digest ([0-9a-f]{64})$", done.stdout, re.MULTILINE)
    assert found is not None, done.stderr[-2000:]
    return found[1]


@pytest.mark.parametrize("strategy", ["fsdp", "model_parallel"])
def test_a_run_is_sound_and_resumed_to_the_same_weights(tmp_path: Path, strategy: str) -> None:
    run = tmp_path / "run"
    whole = digest(train(tmp_path / "whole", 3, strategy))
    assert train(run, 2, strategy).returncode == 0

    report = verify(run)
    assert report.findings == ()
    assert all(item.judged for item in report.checkpoints)
    handed = guard(run)
    assert handed == run / "last.ckpt"

    assert digest(train(run, 3, strategy, str(handed))) == whole
    report = verify(run)
    assert (report.findings, report.resume_from) == ((), "last.ckpt")
    assert (run / THIRD).is_dir()

    shutil.rmtree(run / "last.ckpt")
    shutil.copy(run / SECOND / "__1_0.distcp", run / THIRD)
    settle(run)
    assert "shards/stale" in {item.rule for item in verify(run).findings}
    assert guard(run) == run / SECOND


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_run_of_deepspeed_is_sound_and_resumed_to_the_same_weights(tmp_path: Path, stage: int) -> None:
    pytest.importorskip("deepspeed", reason="the dependency group deepspeed is not installed")
    run, strategy = tmp_path / "run", f"deepspeed_{stage}"
    whole = digest(train(tmp_path / "whole", 3, strategy))
    assert train(run, 2, strategy).returncode == 0

    report = verify(run)
    assert (report.verdict, report.findings) == ("sound", ())
    assert all(item.judged for item in report.checkpoints)
    handed = guard(run)
    assert handed == run / "last.ckpt"

    assert digest(train(run, 3, strategy, str(handed))) == whole
    report = verify(run)
    assert (report.findings, report.resume_from) == ((), "last.ckpt")

    shutil.rmtree(run / "last.ckpt")
    part = "checkpoint/zero_pp_rank_1_mp_rank_00_optim_states.pt"
    shutil.copy(run / SECOND / part, run / THIRD / part)
    settle(run)
    assert "deepspeed/stale-partition" in {item.rule for item in verify(run).findings}
    assert guard(run) == run / SECOND
