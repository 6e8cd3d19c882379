"""No two partitions of ZeRO have the same bytes."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from audit.plugin import FileScan
from audit.testing.judging import check, report
from audit_rules.deepspeed.stale_partition import stale_partition
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


def test_a_partition_that_could_not_be_read_hides_no_other() -> None:
    paths = {rank: f"{rank}.pt" for rank in range(3)}
    zero = SimpleNamespace(paths=paths, engine=SimpleNamespace(dp_world_size=3))
    scan = {path: FileScan("0" * 64, 9, 9, {}, None) for path in ("1.pt", "2.pt")}
    checkpoint = SimpleNamespace(optional=lambda _: None)

    (violation,) = stale_partition.function(checkpoint, zero, scan)

    assert (violation.file, violation.actual) == ("2.pt", "1.pt")
