"""The callback where two processes train: both stop, neither waits for ever."""

import sys
from pathlib import Path

import pytest

import audit
from tests.backends.hf_trainer.fitting import fit, lora
from tests.backends.hf_trainer.trained_elsewhere import start

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")

pytestmark = pytest.mark.slow


def endings(kind: str, run: Path, steps: int = 5) -> tuple[bool, list[str]]:
    """Train with two processes; say whether that looked successful, and how each process ended."""
    process = start(kind, run, steps, processes=2)
    process.communicate(timeout=200)
    return process.returncode == 0, [Path(f"{run}.{rank}").read_text() for rank in (0, 1)]


def test_both_processes_train_to_the_end_and_one_of_them_audits(tmp_path: Path) -> None:
    run = tmp_path / "run"

    assert endings("slow", run) == (True, ["whole", "whole"])
    report = audit.verify(str(run))
    assert (report.verdict, [item.sealed for item in report.checkpoints]) == ("sound", [True, True])
    assert (run / ".audit" / "pinned" / "checkpoint-5" / "rng_state_1.pth").exists()


def test_both_processes_stop_after_a_broken_save(tmp_path: Path) -> None:
    run = tmp_path / "run"

    assert endings("poisoned", run) == (False, ["CheckpointViolation", "CheckpointViolation"])
    assert sorted(place.name for place in run.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-3"]
    assert audit.guard(run) == run / "checkpoint-2"


def test_both_processes_are_refused_to_start_over(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(str(run), lora(), max_steps=1, save_steps=1)

    success, ended = endings("audited", run)

    assert (success, ended[0]) == (False, "ResumeRefused")
    assert ended[1] == "AuditError"


@pytest.mark.skipif(sys.platform != "linux", reason="FSDP on a CPU was tried there")
def test_moments_that_fsdp_1_does_not_load_from_shards_end_the_training_before_its_next_save(tmp_path: Path) -> None:
    for version, ended in (("1", (False, ["AuditError", "AuditError"])), ("2", (True, ["whole", "whole"]))):
        run = tmp_path / version
        assert endings(f"fsdp {version}", run, 2) == (True, ["whole", "whole"])

        assert endings(f"fsdp {version}", run, 3) == ended
        assert (run / "checkpoint-3").exists() == (version == "2")
