"""Metadata that was copied from another save loads, and is named; metadata without an id is not compared."""

import shutil
from pathlib import Path

import pytest

from audit.judging.guard import consult
from audit.testing.judging import check, report
from tests.dcp import MODEL, OPTIMIZER, make_apart, make_sharded, write_state


@pytest.mark.parametrize("folder", [MODEL, OPTIMIZER])
def test_the_metadata_of_the_checkpoint_before(tmp_path: Path, folder: str) -> None:
    run = make_sharded(tmp_path / "run")
    shutil.copy(run / "checkpoint-100" / folder / ".metadata", run / "checkpoint-200" / folder)

    (finding,) = check(str(run), "shards/copied-metadata")

    assert finding.message == f"{folder}/.metadata is of another save, that of checkpoint-100"
    assert (finding.severity.value, finding.blocks_resume) == ("info", False)
    assert consult(str(run)).decision.checkpoint == "checkpoint-200"


def test_every_save_has_an_id_of_its_own(tmp_path: Path) -> None:
    assert check(str(make_sharded(tmp_path / "run")), "shards/copied-metadata") == []


def test_a_shard_of_the_older_step_is_the_cause(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run")
    for name in (".metadata", "__1_0.distcp"):
        shutil.copy(run / "checkpoint-100" / MODEL / name, run / "checkpoint-200" / MODEL)

    found = {item.rule for item in report(str(run)).findings}
    assert "shards/stale" in found
    assert "shards/copied-metadata" not in found


def test_without_an_id_the_same_bytes_are_no_copy(tmp_path: Path) -> None:
    """Older versions of torch wrote none, and saves of one layout have the same metadata."""
    run = make_sharded(tmp_path / "run")
    for step in (100, 200):
        write_state(run / f"checkpoint-{step}", step, lambda state: state.pop("storage_meta"))
    first, second = (run / f"checkpoint-{step}" / MODEL / ".metadata" for step in (100, 200))
    assert first.read_bytes() == second.read_bytes()

    assert check(str(run), "shards/copied-metadata") == []


def test_a_copy_is_found_beside_metadata_without_an_id(tmp_path: Path) -> None:
    run = make_apart(tmp_path / "run")
    (tmp_path / "other").mkdir()
    write_state(tmp_path / "other", 300, lambda state: state.pop("storage_meta"))
    shutil.copy(tmp_path / "other" / MODEL / ".metadata", run / "step-300" / "model")
    shutil.copy(run / "step-200" / "optimizer" / ".metadata", run / "step-300" / "optimizer")

    (finding,) = check(str(run), "shards/copied-metadata")

    assert finding.file == "optimizer/.metadata"
