"""Parameters in the partitions of ZeRO: which elements each rank has, and what cannot be told."""

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import pytest

from audit.errors import NotApplicable
from audit.facts.checkpoint import Checkpoint
from audit.facts.run import open_run
from audit.facts.zero_tensors import ZeroTensors, parameters_in
from audit.manager import load
from tests.zero import GROUPS, SHAPES, edit_partition, make_zero

Change = Callable[[dict[str, Any]], Any]


def opened(run: Path) -> Checkpoint:
    return open_run(str(run), load().backends).checkpoints[-1]


def parameters(run: Path) -> ZeroTensors:
    checkpoint = opened(run)
    return parameters_in(checkpoint.zero, checkpoint.files)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_every_element_of_every_parameter_is_somewhere_once(tmp_path: Path, stage: int) -> None:
    tensors, lacking = parameters(make_zero(tmp_path / "run", (100,), stage=stage))

    assert {name: item.shape for name, item in tensors.items()} == SHAPES
    assert lacking == 0
    for name, item in tensors.items():
        whole = item.pieces()
        covered = [at for part in whole.parts for at in range(part.offsets[0], part.offsets[0] + part.tensor.shape[0])]
        assert sorted(covered) == list(range(prod(SHAPES[name]))), name
        assert set(item.paths) == {part.path for part in whole.parts}


def test_under_zero_2_a_parameter_may_lie_on_both_sides_of_a_border(tmp_path: Path) -> None:
    tensors = parameters(make_zero(tmp_path / "run", (100,))).tensors

    assert {name: len(item.pieces().parts) for name, item in tensors.items()} == {
        **dict.fromkeys(GROUPS[0], 1), "layers.0.norm.weight": 1, "norm.weight": 2,
    }  # fmt: skip
    assert len(tensors["norm.weight"].paths) == 2


def test_under_zero_3_every_rank_has_a_part_of_each(tmp_path: Path) -> None:
    tensors = parameters(make_zero(tmp_path / "run", (100,), stage=3)).tensors

    assert {name: len(item.paths) for name, item in tensors.items()} == dict.fromkeys(SHAPES, 2)


CANNOT: dict[str, tuple[int, Change, str]] = {
    "aligned": (2, lambda state: {**state, "param_alignment_paddings": [[2, 0, 0, 0], [0, 0]]}, "order of the parameters"),
    "one group": (
        2,
        lambda state: {**state, "single_partition_of_fp32_groups": state["single_partition_of_fp32_groups"][:1]},
        "other groups",
    ),
    "short": (3, lambda state: {**state, "fp32_flat_groups": state["fp32_flat_groups"][:1]}, "differ in size"),
}  # fmt: skip


@pytest.mark.parametrize("name", CANNOT)
def test_what_does_not_fit_is_not_put_together(tmp_path: Path, name: str) -> None:
    stage, change, reason = CANNOT[name]
    run = make_zero(tmp_path / "run", (100,), stage=stage)
    edit_partition(run / "checkpoint-100", 1, change)

    with pytest.raises(NotApplicable, match=reason):
        parameters(run)


def test_without_the_partition_of_a_rank_nothing_is(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run", (100,))
    (run / "checkpoint-100" / "global_step100" / "zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()

    with pytest.raises(NotApplicable, match="partition is not there"):
        parameters(run)
