"""Runs of audit train with the real Trainer, rehearsed: restored as saved, the same steps bit for bit."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

from audit.rehearsal.report import RehearsalReport
from tests.backends.hf_trainer.continuous import Continuous
from tests.backends.hf_trainer.rehearsed import edit_config, rehearsed, trained


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Continuous:
    return trained(tmp_path_factory.mktemp("rehearsal") / "shop")


def tree(run: Path) -> dict[str, tuple[str, int, int]]:
    """Digest, mtime and inode of every file of every checkpoint."""
    files = (path for home in run.glob("checkpoint-*") for path in home.rglob("*") if path.is_file())
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns, path.stat().st_ino)
        for path in files
    }


def good(found: RehearsalReport, steps: int) -> None:
    assert found.exit_code == 0, str(found)
    assert found.exact, found.inexact
    assert found.judgement.bit_for_bit
    assert len(found.rehearsal.steps) == steps
    assert [part.missed for part in found.rehearsal.restored] == [None] * 4
    if steps:
        assert found.judgement.judged == ("examples", "learning rate", "loss", "gradient norm")


def as_a_command(shop: Continuous, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "audit", "rehearse", str(shop.run), "--config", str(shop.config), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_sound_checkpoint_is_the_same_bit_for_bit_and_nothing_is_touched(shop: Continuous) -> None:
    before = tree(shop.run)
    found = rehearsed(shop, 3)
    good(found, 3)
    assert [item.step for item in found.rehearsal.arrivals] == [6]
    assert found.rehearsal.draws  # dropout
    assert tree(shop.run) == before
    assert sorted(path.name for path in shop.run.iterdir()) == sorted(
        {".audit", *(path.parent.name for path in shop.run.glob("checkpoint-*/optimizer.pt"))}
    )


@pytest.mark.slow
def test_what_comes_out_as_a_command(shop: Continuous) -> None:
    ended = as_a_command(shop, "--checkpoint", "6", "--format", "json")
    assert (ended.returncode, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)
    assert (found["same"], found["step"], len(found["steps"])) == (True, 6, 5)


@pytest.mark.slow
def test_a_rehearsal_that_takes_too_long_is_ended(shop: Continuous) -> None:
    ended = as_a_command(shop, "--timeout", "0.2")
    assert ended.returncode == 2
    assert (
        ended.stderr
        == "audit rehearse: checkpoint-12: could not be rehearsed: it took longer than 0.2 s, and was ended\n"
    )


@pytest.mark.slow
def test_the_newest_checkpoint_is_restored_only(shop: Continuous) -> None:
    found = rehearsed(shop)
    good(found, 0)
    assert found.unjudged is not None


@pytest.mark.slow
def test_steps_by_another_configuration_differ(shop: Continuous) -> None:
    before = shop.config.read_text()
    edit_config(shop, "lora_dropout = 0.2", "lora_dropout = 0.1")
    try:
        found = rehearsed(shop, 3)
    finally:
        shop.config.write_text(before)
    assert found.exit_code == 1
    assert found.judgement.differences[0].step == 4
    assert "what the first loss is computed from" in (found.judgement.cause or "")
