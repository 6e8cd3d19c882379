"""A rehearsal of the real DeepSpeed on two ranks: each compares its partition, its module and its moments.

Elsewhere DeepSpeed is not installed, and these are skipped.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deepspeed.starting import CONFIGURATIONS, ENVIRONMENT, ROOT

pytest.importorskip("deepspeed", reason="the dependency group deepspeed is not installed")

HERE = Path(__file__).parent
SPOILT = ("scaled:scale_moments", "random:random_weights", "other:other_shard", "module:module_alone")
REHEARSED = ("ZeRO-1", "ZeRO-2", "ZeRO-3", "ZeRO-2, LoRA", "ZeRO-3, LoRA", "ZeRO-1, bf16", "ZeRO-3, bf16")


def rehearsed(home: Path, asked: tuple[str, ...], *arguments: str, ranks: int = 2) -> dict[str, Any]:
    """Train and rehearse as asked (NAME:SPOILT); return what each has found."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    paths = os.pathsep.join((str(ROOT), str(ROOT / "backends")))
    done = subprocess.run(
        [*command, str(HERE / "rehearse_one.py"), str(home), *asked, "--", *arguments],
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = [item.partition(":")[0] for item in asked]
    return {name: json.loads((home / f"{name}.json").read_text()) for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("name", REHEARSED)
def test_a_sound_state_is_as_in_the_files_and_a_spoilt_one_is_named(name: str, tmp_path: Path) -> None:
    found = rehearsed(tmp_path, ("sound", *SPOILT), *CONFIGURATIONS[name])

    sound = found["sound"]
    assert (sound["same"], sound["steps"]) == (True, 3)
    assert set(sound["missed"].values()) == {None}
    assert all(sound["values"].values())
    different = {case: item["different"] for case, item in found.items()}
    assert {case: set(parts) for case, parts in different.items()} == {
        "sound": set(), "scaled": {"optimizer state"}, "random": {"weights"}, "other": {"optimizer state"},
        "module": {"weights"},
    }  # fmt: skip
    assert different["scaled"]["optimizer state"][1].startswith("process 1: ")
    assert different["scaled"]["optimizer state"][1].endswith(".exp_avg")
    assert different["other"]["optimizer state"][1].endswith(".exp_avg_sq")
    assert different["random"]["weights"][1].startswith("process 1: ")
    assert different["random"]["weights"][1].endswith(" (fp32)")
    assert different["module"]["weights"][0] == 1
    for case in ("scaled", "random", "other", "module"):
        assert found[case]["differences"][0][0] is None, "in what was restored, before any step"


@pytest.mark.slow
def test_a_schedule_of_the_engine_is_compared_and_skipped_steps_are_no_difference(tmp_path: Path) -> None:
    skipped = ("--stage", "2", "--dtype", "fp16", "--scale-power", "24")
    assert rehearsed(tmp_path / "fp16", ("sound",), *skipped)["sound"]["same"]
    own = rehearsed(tmp_path / "own", ("sound",), "--stage", "2", "--own-scheduler")["sound"]
    assert own["same"]
    assert own["values"]["schedule"]


@pytest.mark.slow
def test_an_engine_without_zero_says_what_is_not_compared(tmp_path: Path) -> None:
    found = rehearsed(tmp_path, ("sound",), "--stage", "0")["sound"]
    assert found["same"]
    assert found["missed"]["weights"] == found["missed"]["optimizer state"] == "there is no state of ZeRO"
    assert found["values"]["schedule"]


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["2", "3"])
def test_three_ranks_whose_last_slice_is_padded(stage: str, tmp_path: Path) -> None:
    found = rehearsed(tmp_path, ("sound",), "--stage", stage, ranks=3)["sound"]
    assert found["same"]
    assert set(found["missed"].values()) == {None}


@pytest.mark.slow
def test_frozen_parameters_that_zero_3_has_in_slices_are_said_not_to_be_compared(tmp_path: Path) -> None:
    found = rehearsed(tmp_path, ("sound",), "--stage", "3", "--frozen")["sound"]
    assert found["same"]
    assert found["missed"]["weights"] == "9 frozen parameters are in pieces that are not put together"
    assert found["missed"]["optimizer state"] is None
    assert found["values"]["weights"]
