"""files/placeholder."""

from pathlib import Path

import pytest

from audit.testing.judging import check
from audit.testing.runs import make_run
from tests.plugins.audit_rules.files.editing import ADAPTER, POINTER, judged, names

RULE = "files/placeholder"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


@pytest.mark.parametrize(
    "name", ["optimizer.pt", ADAPTER, "trainer_state.json", "training_args.bin", "rng_state.pth", "adapter_config.json"]
)
def test_a_git_lfs_pointer_is_found(run: str, name: str) -> None:
    Path(run, "checkpoint-200", name).write_bytes(POINTER)
    (finding,) = judged(run)
    assert (finding.rule, finding.checkpoint, finding.file) == (RULE, "checkpoint-200", name)
    assert f"{name} is a git-lfs pointer" in finding.message
    assert "git lfs pull" in finding.remedy
    assert finding.blocks_resume


@pytest.mark.parametrize("suffix", [".REMOVED.git-id", ".part_aa", ".partaa", ".part-aa"])
def test_what_lies_in_place_of_a_file_is_found(run: str, suffix: str) -> None:
    weights = Path(run, "checkpoint-200", ADAPTER)
    weights.rename(f"{weights}{suffix}")
    (finding,) = check(run, RULE)
    assert finding.message == f"{ADAPTER}{suffix} is in place of {ADAPTER}"


def test_parts_beside_the_joined_file_are_no_finding(run: str) -> None:
    Path(run, "checkpoint-200", f"{ADAPTER}.part_aa").write_bytes(b"first half")
    assert not check(run, RULE)


def test_a_text_that_mentions_git_lfs_is_no_pointer(run: str) -> None:
    Path(run, "checkpoint-200", "README.md").write_text("Fetch it with git lfs pull; version https://git-lfs ...")
    assert names(judged(run)) == []
