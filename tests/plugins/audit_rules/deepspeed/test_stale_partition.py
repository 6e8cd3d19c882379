"""No two partitions of ZeRO have the same bytes."""

import shutil
from pathlib import Path

import pytest

from audit.testing.judging import check, report
from tests.zero import PARTITION, make_zero


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_zero(tmp_path / "run")


def test_a_partition_of_the_checkpoint_before(run: Path) -> None:
    name = PARTITION.format(1)
    shutil.copy(run / "checkpoint-100" / "global_step100" / name, run / "checkpoint-200" / "global_step200" / name)

    (finding,) = check(str(run), "deepspeed/stale-partition")

    assert finding.blocks_resume
    assert finding.message == f"global_step200/{name} is byte for byte checkpoint-100/global_step100/{name}"
    assert {item.rule for item in report(str(run)).findings} == {"deepspeed/stale-partition"}


def test_a_copy_of_the_other_rank(run: Path) -> None:
    folder = run / "checkpoint-200" / "global_step200"
    shutil.copy(folder / PARTITION.format(0), folder / PARTITION.format(1))

    (finding,) = check(str(run), "deepspeed/stale-partition")

    assert finding.message.endswith(f"is byte for byte global_step200/{PARTITION.format(0)}")


def test_partitions_of_their_own_pass(run: Path) -> None:
    assert check(str(run), "deepspeed/stale-partition") == []


def test_a_file_of_a_rank_that_is_not_loaded(run: Path) -> None:
    folder = run / "checkpoint-200" / "global_step200"
    shutil.copy(folder / PARTITION.format(1), folder / PARTITION.format(2))

    assert check(str(run), "deepspeed/stale-partition") == []
