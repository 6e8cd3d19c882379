"""Runs of accelerate are listed, judged and handed out like those of Trainer."""

import shutil
import zipfile
from pathlib import Path

import pytest

from audit import AuditError, guard, verify
from audit.audit_dir import AUDIT_DIR
from audit.testing.runs import edit_torch
from tests.accelerate import damage, make_accelerate, settle


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(make_accelerate(tmp_path / "run"))


@pytest.mark.parametrize("name", ["step_{}", "checkpoint-{}", "epoch_{}", "checkpoint_{}"])
def test_a_sound_run_of_any_naming_is_sound_and_sealed(tmp_path: Path, name: str) -> None:
    run = make_accelerate(tmp_path / "run", name=name)
    report = verify(run)

    assert (report.backend, report.verdict, report.findings) == ("accelerate", "sound", ())
    assert report.resume_from == name.format(300)
    assert all(item.sealed for item in verify(run).checkpoints)


def test_a_flipped_bit_of_the_random_states_is_found_by_its_checksum(run: Path) -> None:
    """The file is an archive of torch, although its name is that of a pickle."""
    path = run / "step_300" / "random_states_0.pkl"
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/data/0"))
        state = archive.read(name)
    data = bytearray(path.read_bytes())
    data[data.index(state) + len(state) // 2] ^= 1
    path.write_bytes(data)
    settle(run)

    (finding,) = verify(run).findings
    assert (finding.rule, finding.file) == ("integrity/archive", "random_states_0.pkl")
    assert "was changed after it was written" in finding.message
    assert guard(run) == run / "step_200"


def test_an_epoch_is_no_step(tmp_path: Path) -> None:
    """``epoch_2`` after 300 updates: the optimizer says what step it is of."""
    run = Path(make_accelerate(tmp_path / "run", (100, 200, 300)))
    for number, step in enumerate((100, 200, 300)):
        (run / f"step_{step}").rename(run / f"epoch_{number}")

    report = verify(run)
    assert (report.verdict, report.resume_from) == ("sound", "epoch_2")


def test_a_schedule_moves_once_for_each_process(run: Path) -> None:
    for step in (100, 200, 300):
        edit_torch(
            run / f"step_{step}" / "scheduler.bin", lambda values: {**values, "last_epoch": values["last_epoch"] * 2}
        )
        edit_torch(
            run / f"step_{step}" / "scheduler.bin", lambda values: {**values, "_step_count": values["last_epoch"] + 1}
        )
    assert verify(run).findings == ()


def test_states_of_trainer_beside_them_are_trainers(run: Path) -> None:
    place = run / "step_300"
    place.rename(run / "checkpoint-300")
    (run / "checkpoint-300" / "trainer_state.json").write_text("{}")
    for step in (100, 200):
        shutil.rmtree(run / f"step_{step}")
    assert verify(run).backend == "hf-trainer"


@pytest.mark.parametrize(
    ("what", "name", "rule"),
    [
        ("gone", "model.safetensors", "files/missing-weights"),
        ("gone", "optimizer.bin", "files/missing-optimizer"),
        ("gone", "scheduler.bin", "files/missing-part"),
        ("gone", "random_states_0.pkl", "files/incomplete-checkpoint"),
        ("cut", "model.safetensors", "integrity/safetensors"),
        ("cut", "optimizer.bin", "integrity/archive"),
        ("cut", "scheduler.bin", "integrity/archive"),
        ("cut", "random_states_0.pkl", "integrity/archive"),
        ("older", "model.safetensors", "weights/unchanged"),
        ("older", "optimizer.bin", "optimizer/unchanged"),
        ("older", "scheduler.bin", "scheduler/step-mismatch"),
    ],
)
def test_what_a_resume_would_crash_on_or_load_silently_is_refused(run: Path, what: str, name: str, rule: str) -> None:
    damage(run / "step_300", what, name)
    settle(run)

    assert rule in [finding.rule for finding in verify(run).findings]
    assert guard(run) == run / "step_200"


def test_a_gap_in_the_random_states_is_said(run: Path) -> None:
    states = run / "step_300" / "random_states_0.pkl"
    shutil.copyfile(states, states.with_name("random_states_2.pkl"))
    found = [(finding.rule, finding.file) for finding in verify(run).findings]

    assert ("files/missing-rng-state", "random_states_1.pkl") in found


def test_a_file_of_a_third_party_object_is_read_too(run: Path) -> None:
    """``register_for_checkpointing``: a broken one stops load_state."""
    for step in (100, 200, 300):
        (run / f"step_{step}" / "custom_checkpoint_0.pkl").write_bytes(
            (run / f"step_{step}" / "scheduler.bin").read_bytes()
        )
    assert verify(run).findings == ()
    damage(run / "step_300", "cut", "custom_checkpoint_0.pkl")
    assert verify(run).resume_from == "step_200"
    (run / "step_300" / "custom_checkpoint_0.pkl").unlink()
    settle(run)
    assert [finding.rule for finding in verify(run).findings if finding.blocks_resume][-1] == "files/missing-part"


@pytest.mark.parametrize("name", ["optimizer", "scheduler"])
def test_with_a_second_optimizer_or_scheduler_it_is_not_judged(run: Path, name: str) -> None:
    """No rule looks into it, so an empty one would be sound."""
    for step in (100, 200, 300):
        shutil.copyfile(run / f"step_{step}" / f"{name}.bin", run / f"step_{step}" / f"{name}_1.bin")
    edit_torch(run / "step_300" / f"{name}_1.bin", lambda values: {})
    settle(run)

    found = verify(run).findings
    assert {(item.rule, item.severity.value, item.file) for item in found} == {
        ("files/not-judged", "info", f"{name}_1.bin")
    }
    assert guard(run) == run / "step_300"
    with pytest.raises(AuditError, match=f"step_300 is not judged .{name}_1.bin, .* hands out nothing"):
        guard(run, strict=True)


def test_runs_below_the_named_directory_are_named(run: Path) -> None:
    """``ProjectConfiguration`` saves into PROJECT/checkpoints/checkpoint_i."""
    project = run.parent / "project"
    project.mkdir()
    run.rename(project / "checkpoints")
    with pytest.raises(AuditError, match="name the run below it: checkpoints"):
        verify(project)


def test_a_directory_without_states_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "epoch_1").mkdir()
    (tmp_path / "epoch_1" / "image.png").write_bytes(b"")
    with pytest.raises(AuditError, match="no checkpoint"):
        verify(tmp_path)
    assert not (tmp_path / AUDIT_DIR).exists()
    assert guard(tmp_path) is None
