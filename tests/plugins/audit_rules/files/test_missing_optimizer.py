"""files/missing-optimizer."""

from pathlib import Path

import pytest

from audit.testing.judging import check
from audit.testing.runs import edit_arguments, make_run
from tests.plugins.audit_rules.files.editing import judged, names, remove

RULE = "files/missing-optimizer"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def test_a_missing_optimizer_state_is_found(run: str) -> None:
    remove(run, "optimizer.pt")
    (finding,) = judged(run)
    assert (finding.rule, finding.checkpoint, finding.file) == (RULE, "checkpoint-200", "optimizer.pt")
    assert "optimizer.pt is not there: a resume would start with a fresh optimizer" in finding.message
    assert finding.blocks_resume


def test_a_checkpoint_with_it_passes(run: str) -> None:
    remove(run, "rng_state.pth")
    assert not check(run, RULE)


def test_with_save_only_model_it_is_not_owed(run: str) -> None:
    remove(run, "optimizer.pt")
    edit_arguments(f"{run}/checkpoint-200", save_only_model=True)
    assert not check(run, RULE)
    assert len(check(run, "files/weights-only")) == 1


@pytest.mark.parametrize("suffix", [".REMOVED.git-id", ".part_aa", ".partaa", ".part-aa"])
def test_a_placeholder_in_its_place_is_another_finding(run: str, suffix: str) -> None:
    optimizer = Path(run, "checkpoint-200", "optimizer.pt")
    optimizer.rename(f"{optimizer}{suffix}")
    assert names(judged(run)) == [("files/placeholder", "checkpoint-200", f"optimizer.pt{suffix}")]


@pytest.mark.parametrize("name", ["optimizer.pt_0", "rank0-of-2-optimizer.pt"])
def test_tpu_and_sagemaker_keep_it_under_other_names(run: str, name: str) -> None:
    optimizer = Path(run, "checkpoint-200", "optimizer.pt")
    optimizer.rename(optimizer.with_name(name))
    assert not check(run, RULE)
