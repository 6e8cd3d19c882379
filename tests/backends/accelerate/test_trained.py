"""What accelerate itself saves, resumes from, and stops at."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from audit import guard, verify
from tests.accelerate import damage, settle

pytest.importorskip("accelerate", reason="the extra hf is not installed")

SCRIPT = Path(__file__).with_name("script.py")


def train(run: Path, steps: str, resume_from: Path | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPT), str(run), steps, *([str(resume_from)] if resume_from else [])]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run, and the weights in which a resume from its second checkpoint ends."""
    home = tmp_path_factory.mktemp("accelerate")
    for done in (train(home / "run", "10,20,30"), train(home / "other", "30", home / "run" / "step_20")):
        assert not done.returncode, done.stderr
    return home / "run", done.stdout


def test_a_clean_run_is_sound_and_so_is_one_that_was_resumed_from_what_is_handed_out(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained[0], run)
    assert verify(run).findings == ()
    shutil.rmtree(run / "step_30")
    assert guard(run) == run / "step_20"

    resumed = train(run, "30", run / "step_20")
    assert (resumed.returncode, resumed.stdout) == (0, trained[1])
    assert verify(run).findings == ()


@pytest.mark.parametrize(
    ("what", "name", "crashes"),
    [
        ("gone", "scheduler.bin", True),
        ("older", "optimizer.bin", False),
        pytest.param("gone", "model.safetensors", True, marks=pytest.mark.slow),
        pytest.param("cut", "optimizer.bin", True, marks=pytest.mark.slow),
        pytest.param("older", "model.safetensors", False, marks=pytest.mark.slow),
        pytest.param("older", "scheduler.bin", False, marks=pytest.mark.slow),
        pytest.param("cut", "random_states_0.pkl", False, marks=pytest.mark.slow),
    ],
)
def test_what_it_crashes_on_or_loads_silently_is_not_handed_out(
    trained: tuple[Path, str], tmp_path: Path, what: str, name: str, crashes: bool
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained[0], run)
    damage(run / "step_20", what, name)
    resumed = train(tmp_path / "other", "30", run / "step_20")

    assert bool(resumed.returncode) is crashes
    assert crashes or resumed.stdout != trained[1]  # silently other weights
    settle(run)
    assert [item.resumable for item in verify(run).checkpoints] == [True, False, True]
