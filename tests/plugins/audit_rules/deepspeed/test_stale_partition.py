"""No two partitions of ZeRO have the same bytes."""

import shutil
from pathlib import Path
from struct import pack
from types import SimpleNamespace
from typing import Any

import pytest

from audit.plugin import FileScan
from audit.testing.judging import check, report
from audit.testing.torch_files import FakeTensor
from audit_rules.deepspeed.stale_partition import stale_partition
from tests.zero import PARTITION, edit_engine, edit_inner, edit_partition, make_zero

RULE = "deepspeed/stale-partition"


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


def moment_of_before(run: Path, key: str, ranks: tuple[int, ...] = (1,), value: float | None = None) -> None:
    """Give both checkpoints the same moments; all of one value, if it is given."""
    for rank in ranks:
        kept: dict[int, FakeTensor] = {}

        def take(inner: dict[str, Any], kept: dict[int, FakeTensor] = kept) -> None:
            for number, entry in inner["state"].items():
                if value is not None:
                    size = entry[key].shape[0]
                    entry[key] = entry[key]._replace(data=pack(f"<{size}f", *[value] * size))
                kept[number] = entry[key]

        def give(inner: dict[str, Any], kept: dict[int, FakeTensor] = kept) -> None:
            for number, entry in inner["state"].items():
                entry[key] = kept[number]

        edit_inner(run / "checkpoint-100", rank, take)
        edit_inner(run / "checkpoint-200", rank, give)


@pytest.mark.parametrize("key", ["exp_avg", "exp_avg_sq"])
@pytest.mark.parametrize("stage", [2, 3])
def test_moments_of_the_checkpoint_before(tmp_path: Path, stage: int, key: str) -> None:
    run = make_zero(tmp_path / "run", stage=stage)
    moment_of_before(run, key)

    (finding,) = check(str(run), RULE)

    assert finding.message == (
        f"global_step200/{PARTITION.format(1)}: the {key} of group 0 are byte for byte those of checkpoint-100"
    )
    assert {item.rule for item in report(str(run)).findings} == {RULE}


def test_moments_of_all_ranks(run: Path) -> None:
    moment_of_before(run, "exp_avg", (0, 1))

    assert len(check(str(run), RULE)) == 2


@pytest.mark.parametrize("value", [0.0, 1e-45])
def test_moments_of_parameters_without_a_gradient_stay_as_they_are(run: Path, value: float) -> None:
    moment_of_before(run, "exp_avg", value=value)

    assert check(str(run), RULE) == []


def test_updates_that_were_all_skipped_change_no_moments(run: Path) -> None:
    moment_of_before(run, "exp_avg")
    edit_engine(run / "checkpoint-200", lambda value: {**value, "skipped_steps": 100})

    assert check(str(run), RULE) == []


@pytest.mark.parametrize(("rate", "found"), [(1e-4, 1), (0.0, 0)])
def test_weights_of_the_checkpoint_before_under_zero_3(tmp_path: Path, rate: float, found: int) -> None:
    run = make_zero(tmp_path / "run", stage=3)
    for step in (100, 200):
        for rank in (0, 1):
            edit_inner(
                run / f"checkpoint-{step}", rank, lambda inner: [item.update(lr=rate) for item in inner["param_groups"]]
            )
    older: list[Any] = []

    def take(state: dict[str, Any]) -> dict[str, Any]:
        older.append(state["fp32_flat_groups"])
        return state

    edit_partition(run / "checkpoint-100", 1, take)
    edit_partition(run / "checkpoint-200", 1, lambda state: {**state, "fp32_flat_groups": older[0]})

    messages = [item.message for item in check(str(run), RULE)]

    assert len(messages) == found
    assert all("the weights of group 0 are byte for byte" in message for message in messages)


def test_a_partition_that_could_not_be_read_hides_no_other() -> None:
    paths = {rank: f"{rank}.pt" for rank in range(3)}
    zero = SimpleNamespace(paths=paths, engine=SimpleNamespace(dp_world_size=3))
    scan = {path: FileScan("0" * 64, 9, 9, {}, None) for path in ("1.pt", "2.pt")}
    checkpoint = SimpleNamespace(optional=lambda _: None)

    (violation,) = stale_partition.function(checkpoint, zero, scan)

    assert (violation.file, violation.actual) == ("2.pt", "1.pt")
