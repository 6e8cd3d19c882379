"""Directories of ``dcp.save``, whole or one for each state, are listed, judged and handed out."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit import AuditError, guard, verify
from audit.manager import load
from tests.accelerate import settle
from tests.dcp import make_apart


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three checkpoints, weights and optimizer saved apart; nothing of it is torch's."""
    return make_apart(tmp_path / "run")


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Two checkpoints that torch saved at once, with the step beside them, as torchtitan does."""
    torch = pytest.importorskip("torch", reason="the extra hf is not installed")
    import torch.distributed.checkpoint as dcp

    run = tmp_path / "run"
    for step in (10, 20, 30):
        weight = torch.randn(8, 8, generator=torch.Generator().manual_seed(step))
        state = {"step": torch.tensor(float(step)), "exp_avg": weight * 0.01, "exp_avg_sq": weight**2 * 0.01}
        optimizer = {"state": {"weight": state}, "param_groups": [{"lr": 1e-3, "params": ["weight"]}]}
        saved = {"model": {"weight": weight}, "optimizer": optimizer, "train_state": {"step": step}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that no process group is there
            dcp.save(saved, checkpoint_id=str(run / f"step-{step}"), no_dist=True)
    return run


def test_a_run_with_a_directory_for_each_state_is_sound(run: Path) -> None:
    report = verify(run)

    assert (report.backend, report.verdict, report.findings) == ("torch-dcp", "sound", ())
    assert report.resume_from == "step-300"
    assert all(item.judged and item.sealed for item in verify(run).checkpoints)


def test_a_run_that_torch_saved_at_once_is_sound(whole: Path) -> None:
    report = verify(whole)

    assert (report.backend, report.verdict, report.findings) == ("torch-dcp", "sound", ())
    assert [item.judged for item in report.checkpoints] == [True] * 3
    settle(whole)
    assert guard(whole) == whole / "step-30"


def _copied(name: str) -> Callable[[Path], Any]:
    return lambda place: shutil.copyfile(place.with_name("step-200") / name, place / name)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def _older_optimizer(place: Path) -> None:
    shutil.rmtree(place / "optimizer")
    shutil.copytree(place.with_name("step-200") / "optimizer", place / "optimizer")


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a shard is gone": (lambda place: (place / "model" / "__1_0.distcp").unlink(), "shards/incomplete"),
    "a shard is cut": (lambda place: _cut(place / "model" / "__1_0.distcp"), "shards/damaged"),
    "the metadata of the optimizer is gone": (
        lambda place: (place / "optimizer" / ".metadata").unlink(), "files/missing-optimizer"),
    "the optimizer is gone": (lambda place: shutil.rmtree(place / "optimizer"), "files/missing-part"),
    "a shard is of an older step": (_copied("optimizer/__0_0.distcp"), "shards/stale"),
    "the optimizer is of an older step": (_older_optimizer, "shards/stale"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_what_torch_would_stop_at_or_load_silently_is_refused(run: Path, name: str) -> None:
    damage, rule = DAMAGES[name]
    damage(run / "step-300")
    settle(run)

    found = verify(run).findings
    assert rule in [finding.rule for finding in found], found
    assert guard(run) == run / "step-200"


def test_an_interrupted_save_is_incomplete(run: Path) -> None:
    for part in ("model", "optimizer"):
        (run / "step-300" / part / ".metadata").unlink()
    settle(run)

    assert [finding.rule for finding in verify(run).findings] == ["files/incomplete-checkpoint"]
    assert guard(run) == run / "step-200"


def test_one_checkpoint_can_be_named(run: Path) -> None:
    assert [item.name for item in verify(run / "step-200").checkpoints] == ["step-200"]


def test_megatrons_are_not_taken_for_it(run: Path) -> None:
    for step in (100, 200, 300):
        (run / f"step-{step}" / "common.pt").write_bytes(b"x")
    (run / "latest_checkpointed_iteration.txt").write_text("300")
    with pytest.raises(AuditError, match="Megatron"):
        verify(run)


def test_it_is_asked_for_by_name(run: Path) -> None:
    assert load().backend("torch-dcp").checkpoint_step("step-7") == 7
