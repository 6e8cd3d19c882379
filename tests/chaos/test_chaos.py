"""A Trainer that is killed at every file event of a save comes back bit for bit through the guard."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("run_chaos.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ckpt_chaos") is None, reason="ckpt-chaos is not installed"),
    pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="the extra hf is not installed"),
]


@pytest.mark.parametrize("way", ["exact", "exact-later"])
@pytest.mark.parametrize("train", ["1", "2", "fsdp", "zero2", "zero3"])
def test_every_kill_is_survived_bit_for_bit(way: str, train: str) -> None:
    if train.startswith("zero"):
        pytest.importorskip("deepspeed", reason="the dependency group deepspeed is not installed")
    done = subprocess.run(
        [sys.executable, str(HARNESS), "--by", way, "--train", train],
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.startswith(f"{way}, ")
    assert done.stderr.endswith("}\n")
