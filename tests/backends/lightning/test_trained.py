"""What Lightning itself saves, resumes from, and loads without a word."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from audit import guard, verify
from audit.testing.runs import edit_torch
from tests.accelerate import settle
from tests.lightning import taken_from, with_nan

pytest.importorskip("lightning", reason="the dependency group lightning is not installed")

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("script.py")
SECOND, THIRD = "epoch=1-step=20.ckpt", "epoch=2-step=30.ckpt"


def train(run: Path, epochs: int, interval: str = "step", *more: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPT), str(run), str(epochs), interval, *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", params=["step", "epoch"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A run, the unit of its schedule, and the weights that it ended in."""
    run = tmp_path_factory.mktemp("lightning") / "run"
    done = train(run, 3, request.param)
    assert not done.returncode, done.stderr
    return run, request.param, done.stdout


def test_a_killed_run_that_was_resumed_from_what_is_handed_out_ends_in_the_same_weights(
    trained: tuple[Path, str, str], tmp_path: Path
) -> None:
    whole, interval, weights = trained
    assert verify(whole).findings == ()

    run = tmp_path / "run"
    assert train(run, 3, interval, "", "25").returncode == -9
    handed = guard(run)
    assert handed == run / "last.ckpt"
    resumed = train(run, 3, interval, str(handed))
    assert (resumed.returncode, resumed.stdout) == (0, weights), resumed.stderr
    assert verify(run).findings == ()


@pytest.mark.parametrize("trained", ["step"], indirect=True)
@pytest.mark.parametrize("what", ["cut", "older optimizer", "older schedule", "NaN"])
def test_what_it_crashes_on_or_loads_silently_is_not_handed_out(
    trained: tuple[Path, str, str], tmp_path: Path, what: str
) -> None:
    whole, interval, _ = trained
    run = tmp_path / "run"
    shutil.copytree(whole, run, ignore=shutil.ignore_patterns(".audit", "last.ckpt"))
    path = run / THIRD
    if what == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    elif what == "NaN":
        edit_torch(path, with_nan)
    else:
        taken_from(path, run / SECOND, {"older optimizer": "optimizer_states", "older schedule": "lr_schedulers"}[what])
    settle(run)

    assert guard(run) == run / SECOND
    resumed = train(tmp_path / "resumed", 4, interval, str(path))
    assert bool(resumed.returncode) == (what == "cut"), resumed.stderr
