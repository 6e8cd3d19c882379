"""Whose run it is, where several trainers use the same names."""

import shutil
from pathlib import Path

from audit import guard, verify
from audit.backend.layout import Layout
from audit.testing.runs import make_run
from tests.accelerate import make_accelerate, settle
from tests.dcp import MODEL, make_sharded


def test_a_save_of_trainer_that_still_lacks_its_state_does_not_give_the_run_away(tmp_path: Path) -> None:
    """FSDP's shards are there first; they look like those of dcp.save."""
    run = make_sharded(tmp_path / "run", (100, 200, 300))
    for path in (run / "checkpoint-300").iterdir():
        if path.name != MODEL:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    settle(run)

    assert verify(run).backend == "hf-trainer"
    assert guard(run) == run / "checkpoint-200"


def test_a_directory_of_another_program_does_not_take_trainers_run(tmp_path: Path) -> None:
    run = Path(make_run(tmp_path / "run"))
    other = Path(make_accelerate(tmp_path / "other", (400,)))
    (other / "step_400").rename(run / "step_400")
    settle(run)

    report = verify(run)
    assert (report.backend, report.verdict, report.resume_from) == ("hf-trainer", "sound", "checkpoint-300")


def test_deepspeed_reads_all_states_but_not_the_files_for_deployment() -> None:
    layout = Layout(
        "deepspeed", ("model.safetensors",), sharded_weights=("a.pt",), others=("custom.pkl",), scaler="scaler.pt"
    )
    assert layout.read_by_resume == {"a.pt", "custom.pkl", "scaler.pt"}
