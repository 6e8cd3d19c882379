"""Directories that the strategies of Lightning save in place of a file: judged as deeply as the files, and refused."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit import guard, verify
from audit.cli import run as cli
from audit.testing.runs import edit_torch
from audit.testing.torch_files import Made, torch_archive_bytes
from tests.accelerate import settle
from tests.dcp import MODEL, make_sharded
from tests.lightning import make_directories, make_lightning

OLDEST, BEFORE, NEWEST = "epoch=0-step=10.ckpt", "epoch=1-step=20.ckpt", "epoch=2-step=30.ckpt"
STRATEGIES = ("fsdp", "model_parallel", "deepspeed")
Harm = Callable[[Path], Any]


def sharded(tmp_path: Path, strategy: str = "fsdp", *, last: bool = False) -> Path:
    run = make_directories(tmp_path / "checkpoints", strategy=strategy, last=last)
    settle(run)
    return run


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_sound_run_is_judged_sealed_and_handed_out(tmp_path: Path, strategy: str) -> None:
    run = sharded(tmp_path, strategy, last=True)

    report = verify(run)

    assert (report.backend, report.verdict, report.findings) == ("lightning", "sound", ())
    assert {item.name: item.step for item in report.checkpoints} == {
        OLDEST: 10,
        BEFORE: 20,
        NEWEST: 30,
        "last.ckpt": 30,
    }
    again = verify(run)
    assert all(item.judged and item.sealed for item in again.checkpoints)
    assert guard(run, strict=True) == run / "last.ckpt"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_last_one_that_was_saved_anew_after_its_seal_is_no_damage(tmp_path: Path, strategy: str) -> None:
    run = tmp_path / "checkpoints"
    make_directories(run, (10, 20), strategy=strategy)
    settle(run)
    assert verify(run).verdict == "sound"
    make_directories(run, (30,), strategy=strategy)
    for name in ("last.ckpt", NEWEST):
        settle(run / name, 1.7e9 + 3600)

    assert verify(run).findings == ()
    assert guard(run) == run / "last.ckpt"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_it_can_be_looked_at(tmp_path: Path, strategy: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = sharded(tmp_path, strategy)

    assert cli(["list", str(run)]) == 0
    assert f"{NEWEST}    30  -      -     0.00625" in capsys.readouterr().out
    assert cli(["show", str(run / NEWEST)]) == 0
    shown = capsys.readouterr().out
    assert "last_epoch 30" in shown
    assert ("partitions 2" if strategy == "deepspeed" else "shards 1") in shown
    assert cli(["diff", str(run / BEFORE), str(run / NEWEST)]) == 1
    assert f"{6 if strategy == 'deepspeed' else 4} changed" in capsys.readouterr().out


def _meta(change: Callable[[dict[str, Any]], Any]) -> Harm:
    return lambda place: edit_torch(place / "meta.pt", change)


def _of_before(*names: str) -> Harm:
    def copy(place: Path) -> None:
        for name in names:
            shutil.copy(place.with_name(BEFORE) / name, place / name)

    return copy


def _cut(place: Path, name: str) -> None:
    (place / name).write_bytes((place / name).read_bytes()[:500])


def _older_schedule(found: dict[str, Any]) -> None:
    found["lr_schedulers"][0].update(last_epoch=20, _step_count=21)


def _copied(place: Path) -> None:
    shutil.rmtree(place)
    shutil.copytree(place.with_name(BEFORE), place)


DAMAGES: dict[str, tuple[str, Harm, str]] = {
    "a shard is gone": ("fsdp", lambda place: (place / "__0_0.distcp").unlink(), "shards/incomplete"),
    "a shard is cut": ("fsdp", lambda place: _cut(place, "__0_0.distcp"), "shards/damaged"),
    "the metadata is gone": ("fsdp", lambda place: (place / ".metadata").unlink(), "files/missing-weights"),
    "meta.pt is gone": ("fsdp", lambda place: (place / "meta.pt").unlink(), "files/incomplete-checkpoint"),
    "meta.pt is cut": ("fsdp", lambda place: _cut(place, "meta.pt"), "integrity/archive"),
    "shards and metadata of another step": (
        "model_parallel", _of_before(".metadata", "__0_0.distcp"), "optimizer/step-mismatch"),
    "meta.pt of another step": ("fsdp", _of_before("meta.pt"), "steps/directory-mismatch"),
    "the schedule of another step": ("fsdp", _meta(_older_schedule), "scheduler/step-mismatch"),
    "a copy of another step": ("model_parallel", _copied, "steps/directory-mismatch"),
    "weights alone": (
        "fsdp", _meta(lambda found: {key: item for key, item in found.items() if key != "lr_schedulers"}),
        "files/weights-only"),
    "code": (
        "fsdp", _meta(lambda found: {**found, "hyper_parameters": Made("os.system", ("true",))}), "security/unsafe-pickle"),
    "a rank's partition is gone": (
        "deepspeed", lambda place: (place / "checkpoint" / "zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink(),
        "deepspeed/partition-mismatch"),
    "a partition of another step": (
        "deepspeed", _of_before("checkpoint/zero_pp_rank_1_mp_rank_00_optim_states.pt"), "deepspeed/stale-partition"),
    "latest is gone": ("deepspeed", lambda place: (place / "latest").unlink(), "files/incomplete-checkpoint"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_directory_is_refused(tmp_path: Path, name: str) -> None:
    strategy, harm, rule = DAMAGES[name]
    run = sharded(tmp_path, strategy)
    harm(run / NEWEST)
    settle(run)

    findings = verify(run).findings

    assert rule in [item.rule for item in findings if item.checkpoint == NEWEST and item.blocks_resume], findings
    assert guard(run) == run / BEFORE


def test_hyper_parameters_of_a_class_of_ones_own_are_no_fault(tmp_path: Path) -> None:
    run = sharded(tmp_path)
    edit_torch(
        run / NEWEST / "meta.pt", lambda found: {**found, "hyper_parameters": Made("mine.Conf", (), {"width": 8})}
    )
    settle(run)

    assert verify(run).findings == ()


def test_a_directory_that_is_written_anew_is_in_progress(tmp_path: Path) -> None:
    """``save_last`` saves into the directory that is there: shards first, ``meta.pt`` at the end."""
    run = sharded(tmp_path, last=True)
    younger = make_directories(tmp_path / "younger", (40,), last=False)
    for name in (".metadata", "__0_0.distcp"):
        data = (younger / "epoch=3-step=40.ckpt" / name).read_bytes()
        (run / "last.ckpt" / name).write_bytes(data)

    assert [(item.rule, item.severity.value) for item in verify(run).findings] == [
        ("files/incomplete-checkpoint", "info")
    ]
    assert guard(run) == run / NEWEST

    settle(run)  # the process was killed there: what is in the directory is of two steps
    assert "optimizer/step-mismatch" in {item.rule for item in verify(run).findings}
    assert guard(run) == run / NEWEST


def test_a_torch_file_that_is_no_dictionary_is_not_judged(tmp_path: Path) -> None:
    run = sharded(tmp_path)
    (run / NEWEST / "meta.pt").write_bytes(torch_archive_bytes([1, 2]))
    settle(run)

    assert not verify(run).checkpoints[-1].judged


def test_files_and_directories_may_be_in_one_run(tmp_path: Path) -> None:
    run = sharded(tmp_path)
    make_lightning(tmp_path / "files", (40,), last=False)
    shutil.copy(tmp_path / "files" / "epoch=3-step=40.ckpt", run)
    settle(run)

    assert [item.step for item in verify(run).checkpoints] == [10, 20, 30, 40]
    assert guard(run) == run / "epoch=3-step=40.ckpt"


def test_a_sharded_state_that_is_no_lightnings_is_still_not_taken_for_it(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run")
    assert (run / "checkpoint-200" / MODEL).is_dir()
    assert verify(run).backend == "hf-trainer"
