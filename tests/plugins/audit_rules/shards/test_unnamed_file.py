"""A shard that no table names is named, and hands nothing out less."""

import shutil
from pathlib import Path

from audit.judging.guard import consult
from audit.testing.judging import check, report
from tests.dcp import MODEL, make_sharded


def test_the_shard_of_a_rank_that_is_no_more(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run")
    for rank in (2, 3):
        shutil.copy(
            run / "checkpoint-200" / MODEL / "__1_0.distcp", run / "checkpoint-200" / MODEL / f"__{rank}_0.distcp"
        )

    (finding,) = check(str(run), "shards/unnamed-file")

    assert finding.message.startswith(f"{MODEL}/__2_0.distcp and 1 more are not named by the metadata")
    assert finding.file == f"{MODEL}/__2_0.distcp"
    assert (finding.severity.value, finding.blocks_resume) == ("info", False)
    assert report(str(run)).verdict == "sound"
    assert consult(str(run)).decision.checkpoint == "checkpoint-200"


def test_every_shard_is_named_and_other_files_are_no_shards(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run")
    (run / "checkpoint-200" / MODEL / "notes.distcp").write_bytes(b"x")

    assert check(str(run), "shards/unnamed-file") == []


def test_with_a_shard_missing_it_may_be_that_one(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run")
    place = run / "checkpoint-200" / MODEL
    (place / "__1_0.distcp").rename(place / "__9_0.distcp")

    found = {item.rule for item in report(str(run)).findings}
    assert "shards/incomplete" in found
    assert "shards/unnamed-file" not in found
