"""The partitions of ZeRO add up to the model, and each is that of its rank."""

from pathlib import Path
from typing import Any

import pytest

from audit.findings import Finding
from audit.testing.judging import check, report
from tests.zero import PARTITION, edit_engine, edit_partition, make_zero


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_zero(tmp_path / "run")


def only(run: Path) -> Finding:
    (finding,) = check(str(run), "deepspeed/partition-mismatch")
    assert finding.blocks_resume
    return finding


def test_two_ranks_exchanged(run: Path) -> None:
    first, second = (run / "checkpoint-200" / "global_step200" / PARTITION.format(rank) for rank in (0, 1))
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)

    finding = only(run)

    assert "holds the slice of another rank" in finding.message
    assert finding.file == f"global_step200/{PARTITION.format(1)}"


def test_another_number_of_processes(run: Path) -> None:
    edit_engine(run / "checkpoint-200", lambda value: {**value, "dp_world_size": 4})

    assert "has 2 partitions, of ranks 0, 1, but 4 processes saved it" in only(run).message


def test_a_partition_of_another_number(run: Path) -> None:
    edit_partition(run / "checkpoint-200", 1, lambda state: {**state, "partition_count": [8]})

    assert "is one of 8 partitions, but 2 processes saved the others" in only(run).message


def test_a_slice_of_another_length(run: Path) -> None:
    def shorter(state: dict[str, Any]) -> dict[str, Any]:
        (flat,) = state["single_partition_of_fp32_groups"]
        cut = flat._replace(shape=(flat.shape[0] - 1,), data=flat.data[:-4])
        return {**state, "single_partition_of_fp32_groups": [cut]}

    edit_partition(run / "checkpoint-200", 1, shorter)

    assert "has slices of 47 numbers" in only(run).message


def test_partitions_that_do_not_add_up_to_the_model(run: Path) -> None:
    def larger(value: dict[str, Any]) -> dict[str, Any]:
        (shapes,) = value["param_shapes"]
        return {**value, "param_shapes": [{**shapes, "more.weight": (3,)}]}

    edit_engine(run / "checkpoint-200", larger)

    assert "have 96 numbers, but its parameters 99" in only(run).message


def test_padding_is_no_part_of_the_model(run: Path) -> None:
    def padded(state: dict[str, Any]) -> dict[str, Any]:
        (flat,) = state["single_partition_of_fp32_groups"]
        longer = flat._replace(shape=(flat.shape[0] + 1,), data=flat.data + bytes(4))
        return {**state, "single_partition_of_fp32_groups": [longer], "group_paddings": [1]}

    for rank in (0, 1):
        edit_partition(run / "checkpoint-200", rank, padded)

    assert check(str(run), "deepspeed/partition-mismatch") == []


def test_lists_that_do_not_name_every_number_say_nothing(run: Path) -> None:
    for rank in (0, 1):
        edit_partition(run / "checkpoint-200", rank, lambda state: {**state, "param_slice_mappings": [{}]})

    assert report(str(run)).findings == ()
