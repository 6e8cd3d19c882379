"""The divided state in a checkpoint: every element is read where it is, whoever saved it."""

from math import prod
from pathlib import Path
from struct import unpack
from typing import Any

import pytest

from audit.errors import NotApplicable
from audit.facts.run import open_run
from audit.facts.stored import FP32, StoredState, StoredTensor
from audit.manager import load
from audit.testing.runs import make_run
from tests.dcp import OPTIMIZER, make_sharded
from tests.dcp import SHAPES as SHARDED
from tests.zero import SHAPES, WORLD, edit_partition, make_zero


def stored(run: Path) -> StoredState:
    return StoredState(open_run(str(run), load().backends).checkpoints[-1])


def values(tensor: StoredTensor, start: int = 0, count: int | None = None) -> list[float]:
    number = tensor.elements - start if count is None else count
    return list(unpack(f"<{number}f", tensor.read(start, number)))


def test_sharded_weights_are_read_over_the_borders_of_shards(tmp_path: Path) -> None:
    with stored(make_sharded(tmp_path / "run")) as state:
        weights = state.weights()
        assert {name.removeprefix("model."): item.shape for name, item in weights.items()} == SHARDED
        embed = weights["model.embed.weight"]
        assert values(embed)[10:22] == values(embed, 10, 12), "rows 4 to 7 are in the second file"


def test_a_sharded_optimizer_is_by_the_names_of_parameters(tmp_path: Path) -> None:
    with stored(make_sharded(tmp_path / "run")) as state:
        found = state.optimizer()
        assert set(found.state) == set(SHARDED)
        moment = found.state["head.weight"]["exp_avg"]
        assert (moment.shape, len(values(moment))) == (SHARDED["head.weight"], 32)
        assert values(found.state["head.weight"]["step"]) == [200.0]
        assert [group["lr"] for group in found.groups] == [1e-4, 1e-4]
        assert not any("params" in group for group in found.groups)


def test_a_tensor_of_which_a_part_is_gone_raises_when_it_is_read(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run")
    with stored(run) as state:
        weights = state.weights()
        for path in run.glob("checkpoint-200/pytorch_model_fsdp_0/__1_0.distcp"):
            path.unlink()
        with pytest.raises(OSError, match="No such file"):
            values(weights["model.embed.weight"])
    with stored(run) as state, pytest.raises(OSError, match="not all of its chunks are stored"):
        values(state.weights()["model.embed.weight"])


def test_what_is_not_there_is_not_applicable(tmp_path: Path) -> None:
    plain = stored(Path(make_run(tmp_path / "plain")))
    assert not plain.sharded
    for ask in (plain.weights, plain.optimizer, plain.module, lambda: plain.partition(0)):
        with pytest.raises(NotApplicable):
            ask()
    run = make_sharded(tmp_path / "run")
    (run / "checkpoint-200" / OPTIMIZER / "__0_0.distcp").unlink()
    with pytest.raises(NotApplicable, match="could not be read"):
        stored(run).optimizer()


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_partitions_of_all_ranks_are_the_weights_once_by_name(tmp_path: Path, stage: int) -> None:
    with stored(make_zero(tmp_path / "run", (100,), stage=stage)) as state:
        seen: dict[tuple[str, str], int] = {}
        for rank in range(WORLD):
            part = state.partition(rank)
            assert (part.lacking, part.unread) == (0, None)
            for piece in part.slices:
                place = piece.name, piece.key
                seen[place] = seen.get(place, 0) + piece.tensor.elements
        assert seen == {
            (name, key): prod(shape) for name, shape in SHAPES.items() for key in (FP32, "exp_avg", "exp_avg_sq")
        }
        assert set(state.module()) == (set(SHAPES) if stage < 3 else set())


def test_a_rank_has_what_the_module_has(tmp_path: Path) -> None:
    with stored(make_zero(tmp_path / "run", (100,))) as state:
        module = {name: values(item) for name, item in state.module().items()}
        found: dict[str, list[float]] = {}
        for rank in range(WORLD):
            for piece in state.partition(rank).slices:
                if piece.key == FP32:
                    found.setdefault(piece.name, []).extend(values(piece.tensor))
        assert found == module


def test_a_rank_that_did_not_save_is_not_applicable(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run", (100,))
    with pytest.raises(NotApplicable, match="the partition of rank 2"):
        stored(run).partition(2)


def test_where_the_parameters_are_may_be_unknown(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run", (100,))

    def aligned(state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "param_alignment_paddings": [[1, 0], [0]]}

    for rank in range(WORLD):
        edit_partition(run / "checkpoint-100", rank, aligned)
    with stored(run) as state:
        assert {piece.name for piece in state.partition(0).slices} == {"group 0", "group 1"}
