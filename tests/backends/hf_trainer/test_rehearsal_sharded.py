"""Under FSDP each process compares what it holds with the files; what is spoilt is named by its part and process."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

from tests.backends.hf_trainer.rehearsed_sharded import KINDS
from tests.backends.hf_trainer.test_train_together import TORCHRUN

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="FSDP on a CPU was tried there")]
ROOT = Path(__file__).parents[3]
VERSION_1 = [kind for kind in KINDS if kind.startswith("version 1")]


def rehearsed(home: Path, kind: str, *asked: str) -> dict[str, Any]:
    """Train if that was not done, rehearse as asked (NAME:SPOILT), and return what each has found."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "backends"))),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    script = str(Path(__file__).with_name("rehearsed_sharded.py"))
    done = subprocess.run(
        [*TORCHRUN, script, str(home), kind, *asked], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return {item.partition(":")[0]: json.loads((home / f"{item.partition(':')[0]}.json").read_text()) for item in asked}


def all_is_held(home: Path) -> None:
    """What was held right after each save is what was saved."""
    for save in json.loads((home / "saved.json").read_text()):
        for part, values, different, _, _, missed in save:
            assert (different, missed) == (0, None), part
            assert values, part


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("fsdp")
    rehearsed(found, "sharded")
    return found


def test_what_was_loaded_otherwise_is_named_by_its_part_and_process(home: Path) -> None:
    found = rehearsed(
        home, "sharded", "sound:", "scaled:scale_moments", "other:other_shard", "random:random_weights", "bit:one_bit",
        "rate:new_rate", "none:no_optimizer",
    )  # fmt: skip
    assert (found["sound"]["same"], found["sound"]["steps"]) == (True, 4)
    assert set(found["sound"]["missed"].values()) == {None}
    assert found["sound"]["values"] == {"weights": 42, "optimizer state": 180, "schedule": 8, "random states": 18}
    different = {name: item["different"] for name, item in found.items()}
    assert different == {
        "sound": {},
        "scaled": {"optimizer state": [21, "process 1: model.embed_tokens.weight.exp_avg"]},
        "other": {"optimizer state": different["other"]["optimizer state"]},
        "random": {"weights": [1, "process 1: model.embed_tokens.weight"]},
        "bit": {"weights": [1, "lm_head.weight"]},
        "rate": {"optimizer state": [2, "param_groups.0.lr"]},
        "none": {"optimizer state": [126, "model.embed_tokens.weight.step"]},
    }
    assert different["other"]["optimizer state"][0] > 60
    for name in set(found) - {"sound"}:
        assert not found[name]["same"]
        assert found[name]["differences"][0][0] is None, "in what was restored, before any step"


def test_moments_of_another_step_in_the_files_are_loaded_as_they_are_and_show_in_the_steps(
    home: Path, tmp_path: Path
) -> None:
    shutil.copytree(home / "run", tmp_path / "run")
    wrong = tmp_path / "run" / "checkpoint-3" / "optimizer_0"
    shutil.rmtree(wrong)
    shutil.copytree(tmp_path / "run" / "checkpoint-6" / "optimizer_0", wrong)
    found = rehearsed(tmp_path, "sharded", "damaged:")["damaged"]
    assert not found["same"]
    assert found["different"] == {}
    assert found["differences"][0] == [5, "loss"], "after the first update by moments of another step"


def test_a_part_that_cannot_be_compared_is_named_alone(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoint-3" / "optimizer_0")
    found = rehearsed(tmp_path, "sharded", "lost:")["lost"]
    assert found["missed"]["weights"] is None
    assert found["values"]["weights"] == 42
    assert found["missed"]["optimizer state"] is not None


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "sharded" and kind not in VERSION_1])
def test_of_each_kind_nothing_is_found_in_a_sound_state_and_random_weights_are(tmp_path: Path, kind: str) -> None:
    found = rehearsed(tmp_path, kind, "sound:", "random:random_weights")
    all_is_held(tmp_path)
    assert found["sound"]["same"]
    assert set(found["sound"]["missed"].values()) == {None}
    assert set(found["random"]["different"]) == {"weights"}


@pytest.mark.parametrize("kind", VERSION_1)
def test_of_fsdp_1_it_is_found_that_moments_are_not_loaded_from_shards(tmp_path: Path, kind: str) -> None:
    """accelerate 1.15 asks the new optimizer which tensors to read, and it has none: all begin anew."""
    found = rehearsed(tmp_path, kind, "found:")["found"]
    all_is_held(tmp_path)
    assert not found["same"]
    assert set(found["different"]) == {"optimizer state"}
    assert found["differences"][1] == [5, "loss"]
