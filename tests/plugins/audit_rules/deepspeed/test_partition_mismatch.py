"""The partitions of ZeRO add up to the model, and each is that of its rank."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.findings import Finding
from audit.testing.judging import check, report
from audit.testing.torch_files import FakeTensor
from tests.zero import PARTITION, edit_engine, edit_inner, edit_partition, make_zero


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

    assert "holds the slice of rank 1: its parameters are not those of rank 0" in finding.message
    assert finding.file == f"global_step200/{PARTITION.format(0)}"


def test_another_number_of_processes(run: Path) -> None:
    edit_engine(run / "checkpoint-200", lambda value: {**value, "dp_world_size": 4})

    assert "has 2 partitions, of ranks 0, 1, but 4 processes saved it" in only(run).message


def test_a_partition_of_another_number(run: Path) -> None:
    edit_partition(run / "checkpoint-200", 1, lambda state: {**state, "partition_count": [8]})

    assert "is one of 8 partitions, but 2 processes saved the others" in only(run).message


def weights(change: Callable[[FakeTensor], FakeTensor], group: int = 0) -> Callable[[dict[str, Any]], Any]:
    def apply(state: dict[str, Any]) -> dict[str, Any]:
        key = "fp32_flat_groups" if "fp32_flat_groups" in state else "single_partition_of_fp32_groups"
        flat = list(state[key])
        flat[group] = change(flat[group])
        return {**state, key: flat}

    return apply


def shorter(flat: FakeTensor) -> FakeTensor:
    return flat._replace(shape=(flat.shape[0] - 1,), data=flat.data[:-4])


def longer(flat: FakeTensor, more: int = 1) -> FakeTensor:
    return flat._replace(shape=(flat.shape[0] + more,), data=flat.data + bytes(4 * more))


def test_a_slice_of_another_length(run: Path) -> None:
    edit_partition(run / "checkpoint-200", 1, weights(shorter))

    assert "has a slice of 47 numbers" in only(run).message


def test_a_slice_of_another_length_under_zero_3(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run", stage=3)
    assert check(str(run), "deepspeed/partition-mismatch") == []
    edit_partition(run / "checkpoint-200", 1, weights(shorter))

    assert "the slices have 50 numbers, but the parameters 51" in only(run).message


def test_partitions_that_do_not_add_up_to_the_model(run: Path) -> None:
    for rank in (0, 1):
        edit_partition(run / "checkpoint-200", rank, weights(longer))

    assert "have 98 numbers, but the parameters 96" in only(run).message


def test_padding_may_be_saved_with_the_weights(run: Path) -> None:
    """BF16_Optimizer does."""
    edit_partition(run / "checkpoint-200", 1, weights(lambda flat: longer(flat, 3), 1))

    assert check(str(run), "deepspeed/partition-mismatch") == []


@pytest.mark.parametrize("stage", [2, 3])
def test_a_moment_of_another_size_than_its_slice(tmp_path: Path, stage: int) -> None:
    run = make_zero(tmp_path / "run", stage=stage)

    def change(inner: dict[str, Any]) -> None:
        inner["state"][0]["exp_avg"] = shorter(inner["state"][0]["exp_avg"])

    edit_inner(run / "checkpoint-200", 1, change)

    assert "the exp_avg of group 0 has 47 numbers, its slice of weights 48" in only(run).message


def test_states_of_two_groups_exchanged(run: Path) -> None:
    def change(inner: dict[str, Any]) -> None:
        inner["state"] = {0: inner["state"][1], 1: inner["state"][0]}

    for rank in (0, 1):
        edit_inner(run / "checkpoint-200", rank, change)

    assert "of group 0 has 4 numbers, its slice of weights 48" in only(run).message
    assert [item.rule for item in report(str(run)).findings] == ["deepspeed/partition-mismatch"]


def test_the_order_of_the_states_says_nothing(run: Path) -> None:
    def change(inner: dict[str, Any]) -> None:
        inner["state"] = {1: inner["state"][1], 0: inner["state"][0]}

    edit_inner(run / "checkpoint-200", 1, change)

    assert report(str(run)).findings == ()


def test_lists_that_do_not_name_every_number_say_nothing(run: Path) -> None:
    for rank in (0, 1):
        edit_partition(run / "checkpoint-200", rank, lambda state: {**state, "param_slice_mappings": [{}, {}]})

    assert report(str(run)).findings == ()


def test_partitions_in_two_precisions_where_nothing_says_which_is_loaded(run: Path) -> None:
    edit_engine(run / "checkpoint-200", lambda value: {**value, "ds_config": None})
    for rank in (0, 1):
        path = run / "checkpoint-200" / "global_step200" / PARTITION.format(rank)
        path.with_name(f"bf16_{path.name}").write_bytes(path.read_bytes())

    assert "are both the partition of one rank" in only(run).message


def test_partitions_in_two_precisions_of_which_the_other_is_not_loaded(run: Path) -> None:
    for rank in (0, 1):
        path = run / "checkpoint-200" / "global_step200" / PARTITION.format(rank)
        older = run / "checkpoint-100" / "global_step100" / PARTITION.format(rank)
        path.with_name(f"bf16_{path.name}").write_bytes(older.read_bytes())

    assert report(str(run)).findings == ()


def test_a_rank_whose_partition_is_of_another_precision_only(run: Path) -> None:
    path = run / "checkpoint-200" / "global_step200" / PARTITION.format(1)
    path.rename(path.with_name(f"bf16_{path.name}"))

    found = report(str(run)).findings

    assert [item.rule for item in found if item.blocks_resume] in (
        ["deepspeed/partition-mismatch"],
        ["files/missing-shard"],
    )


def test_a_partition_of_a_rank_beyond_those_that_saved_it_is_never_loaded(run: Path) -> None:
    path = run / "checkpoint-200" / "global_step200" / PARTITION.format(1)
    path.with_name(PARTITION.format(2)).write_bytes(path.read_bytes())

    assert report(str(run)).findings == ()


def test_a_list_of_places_that_ends_early_is_not_understood(run: Path) -> None:
    for rank in (0, 1):
        edit_partition(
            run / "checkpoint-200",
            rank,
            lambda state: {**state, "param_slice_mappings": state["param_slice_mappings"][:1]},
        )

    assert check(str(run), "deepspeed/partition-mismatch") == []
