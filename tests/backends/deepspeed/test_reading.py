"""Runs that a script saved by ``engine.save_checkpoint(RUN)``, and those of accelerate with DeepSpeed."""

import os
import shutil
from pathlib import Path

import pytest

from audit import AuditError, guard, verify
from audit.testing.runs import edit_torch
from tests.accelerate import settle
from tests.zero import MODEL, PARTITION, make_zero, write_tag

STEPS = (100, 200, 300)


@pytest.fixture(params=[2, 3])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """``global_stepN`` and ``latest`` in the run's root, of ZeRO 2 and ZeRO 3."""
    run = tmp_path / "run"
    run.mkdir()
    for step in STEPS:
        write_tag(run, step, stage=request.param)
    (run / "latest").write_text("global_step300")
    return run


def test_a_sound_run_is_sound_and_sealed(run: Path) -> None:
    report = verify(run)

    assert (report.backend, report.verdict, report.findings) == ("deepspeed", "sound", ())
    assert report.resume_from == "global_step300"
    assert all(item.judged and item.sealed for item in verify(run).checkpoints)


@pytest.mark.parametrize(
    ("what", "rule"),
    [
        ("gone", "deepspeed/partition-mismatch"),
        ("cut", "integrity/archive"),
        ("older", "deepspeed/stale-partition"),
        ("step", "deepspeed/step-mismatch"),
    ],
)
def test_what_is_loaded_silently_or_stops_one_rank_is_refused(run: Path, what: str, rule: str) -> None:
    part = run / "global_step300" / PARTITION.format(1)
    if what == "gone":
        part.unlink()
    elif what == "cut":
        part.write_bytes(part.read_bytes()[:700])
    elif what == "older":
        shutil.copyfile(run / "global_step200" / part.name, part)
    else:
        for path in (run / "global_step300").glob(f"*{MODEL}"):
            edit_torch(path, lambda values: {**values, "global_steps": 290})
    settle(run)

    assert rule in [finding.rule for finding in verify(run).findings]
    assert guard(run) == run / "global_step200"


def test_a_save_that_latest_does_not_name_yet_is_in_progress(run: Path) -> None:
    """Model states come first, partitions of all ranks after them, latest at the end."""
    settle(run)
    fresh = run / "global_step300"
    (fresh / PARTITION.format(1)).unlink()
    for path in [fresh, *fresh.iterdir()]:
        os.utime(path)

    report = verify(run)
    assert [(finding.rule, finding.severity.value) for finding in report.findings] == [
        ("files/incomplete-checkpoint", "info")
    ]
    assert report.resume_from == "global_step200"


def test_other_programs_use_such_names_too(tmp_path: Path) -> None:
    (tmp_path / "global_step30").mkdir(parents=True)
    (tmp_path / "global_step30" / "model.pt").write_bytes(b"x")
    with pytest.raises(AuditError, match="global_step30 is a checkpoint of DeepSpeed or another trainer"):
        verify(tmp_path)


def test_accelerate_keeps_the_engines_states_in_its_own_checkpoints(tmp_path: Path) -> None:
    """``accelerator.save_state`` calls ``save_checkpoint(DIRECTORY, "pytorch_model")``."""
    run = make_zero(tmp_path / "run", STEPS)
    for step in STEPS:
        place = run / f"checkpoint-{step}"
        (place / f"global_step{step}").rename(place / "pytorch_model")
        (place / "latest").write_text("pytorch_model")
        for name in ("trainer_state.json", "training_args.bin", "model.safetensors", "config.json"):
            (place / name).unlink()
        (place / "scheduler.pt").rename(place / "scheduler.bin")
        for rank in range(2):
            (place / f"rng_state_{rank}.pth").rename(place / f"random_states_{rank}.pkl")
    assert (verify(run).backend, verify(run).findings) == ("accelerate", ())
    assert all(item.judged for item in verify(run).checkpoints)

    part = run / "checkpoint-300" / "pytorch_model" / PARTITION.format(1)
    shutil.copyfile(run / "checkpoint-200" / "pytorch_model" / part.name, part)
    settle(run)
    assert guard(run) == run / "checkpoint-200"
