"""Elements of a ZeRO 3 partition that no parameter has, and what is not known of it."""

from math import nan
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from audit.facts.checkpoint import Checkpoint
from audit.facts.run import open_run
from audit.manager import load
from tests.zero import GROUPS, PARTITION, edit_partition, make_zero

PATHS = [f"global_step100/{PARTITION.format(rank)}" for rank in range(2)]


def spoilt(run: Path, rank: int, group: int, at: int) -> Checkpoint:
    """Open the run with a NaN in one element of the weights and of both moments."""

    def spoil(state: dict[str, Any]) -> dict[str, Any]:
        flat, entry = state["fp32_flat_groups"], state["optimizer_state_dict"]["state"][group]
        for home, key in ((flat, group), (entry, "exp_avg"), (entry, "exp_avg_sq")):
            data = home[key].data
            home[key] = home[key]._replace(data=data[: 4 * at] + pack("<f", nan) + data[4 * at + 4 :])
        return state

    edit_partition(run / "checkpoint-100", rank, spoil)
    return open_run(str(run), load().backends).checkpoints[-1]


def records(checkpoint: Checkpoint, rank: int, group: int) -> list[str]:
    part = checkpoint.zero.partitions[rank]
    return [part.weights[group], *(part.moments[group][key] for key in ("exp_avg", "exp_avg_sq"))]


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("group", [0, 1])
def test_padding_is_what_no_parameter_has(tmp_path: Path, rank: int, group: int) -> None:
    """Of 3 elements the second rank has one and one of padding; all other parameters are divided without a rest."""
    length = sum(-(-size // 2) for size in ((32, 16, 16, 32), (3, 2))[group])
    assert len(GROUPS[group]) == (4, 2)[group]
    padding = []
    for at in range(length):
        run = make_zero(tmp_path / str(at), (100,), stage=3)
        checkpoint = spoilt(run, rank, group, at)
        names = records(checkpoint, rank, group)
        found = checkpoint.only_padding(PATHS[rank], names)
        assert found in (frozenset(), frozenset(names))
        padding += [at] if found else []
        assert len(checkpoint.only_padding(PATHS[1 - rank], records(checkpoint, 1 - rank, group))) == 3

    assert padding == ([1] if (rank, group) == (1, 1) else [])


def test_only_what_is_asked_for_and_known_is_named(tmp_path: Path) -> None:
    checkpoint = spoilt(make_zero(tmp_path / "run", (100,), stage=3), 1, 1, 1)
    weights, *moments = records(checkpoint, 1, 1)

    assert checkpoint.only_padding(PATHS[1], [weights]) == {weights}
    assert checkpoint.only_padding(PATHS[1], ["data/999", *moments]) == set(moments)
    assert checkpoint.only_padding("global_step100/other.pt", [weights]) == frozenset()


def test_nothing_is_known_where_a_partition_is_missing_or_the_weights_are_not_divided(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run", (100,), stage=3)
    weights = records(spoilt(run, 1, 1, 1), 1, 1)
    (run / "checkpoint-100" / PATHS[0]).unlink()
    checkpoint = open_run(str(run), load().backends).checkpoints[-1]
    assert checkpoint.only_padding(PATHS[1], weights) == frozenset()

    second = open_run(str(make_zero(tmp_path / "second", (100,), stage=2)), load().backends).checkpoints[-1]
    assert second.only_padding(PATHS[1], second.zero.partitions[1].weights) == frozenset()


def test_a_group_that_no_parameter_has_is_no_padding(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run", (100,), stage=3)

    def longer(state: dict[str, Any]) -> dict[str, Any]:
        flat = state["fp32_flat_groups"][1]
        state["fp32_flat_groups"][1] = flat._replace(shape=(4,), data=flat.data + pack("<f", nan))
        return state

    for rank in range(2):
        edit_partition(run / "checkpoint-100", rank, longer)
    checkpoint = open_run(str(run), load().backends).checkpoints[-1]
    assert checkpoint.only_padding(PATHS[1], checkpoint.zero.partitions[1].weights) == frozenset()
