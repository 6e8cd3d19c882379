"""files/stray-state."""

from pathlib import Path
from shutil import copyfile

import pytest

from audit.findings import Severity
from audit.testing.judging import check
from audit.testing.runs import make_run

RULE = "files/stray-state"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth", "optimizer.bin"])
def test_state_in_the_root_is_read_by_nobody(run: str, name: str) -> None:
    copyfile(f"{run}/checkpoint-300/optimizer.pt", f"{run}/{name}")
    (finding,) = check(run, RULE)
    assert (finding.checkpoint, finding.file) == (None, name)
    assert finding.message == f"{name} is in the run's root, where no resume reads it"
    assert (finding.severity, finding.blocks_resume) == (Severity.WARNING, False)


@pytest.mark.parametrize("name", ["trainer_state.json", "training_args.bin", "adapter_model.safetensors"])
def test_what_save_state_and_save_model_write_there_is_fine(run: str, name: str) -> None:
    copyfile(f"{run}/checkpoint-300/{name}", f"{run}/{name}")
    assert not check(run, RULE)


def test_a_directory_of_that_name_is_none(run: str) -> None:
    Path(run, "optimizer.pt").mkdir()
    assert not check(run, RULE)
