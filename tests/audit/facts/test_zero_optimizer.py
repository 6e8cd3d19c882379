"""The optimizers of all ranks as one, and what the rules on an optimizer say of them."""

from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from audit.errors import NotApplicable
from audit.facts.checkpoint import Checkpoint
from audit.facts.run import open_run
from audit.formats.pickle_values import TensorRef
from audit.manager import load
from audit.testing.judging import report
from tests.zero import PARTITION, edit_engine, edit_inner, make_zero, own_scheduler

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(params=[2, 3])
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return make_zero(tmp_path / "run", stage=request.param)


def newest(run: Path) -> Checkpoint:
    return open_run(str(run), load().backends).checkpoints[-1]


def on_all(run: Path, change: Change) -> None:
    for rank in (0, 1):
        edit_inner(run / "checkpoint-200", rank, change)


def found(run: Path) -> list[str]:
    return [item.rule for item in report(str(run)).findings]


def entries(change: Callable[[dict[str, Any]], Any]) -> Change:
    return lambda inner: [change(entry) for entry in inner["state"].values()]


def test_each_group_is_one_parameter(run: Path) -> None:
    optimizer = newest(run).optimizer

    assert optimizer.kind == "adam"
    assert optimizer.steps == [200, 200]
    assert [group["params"] for group in optimizer.groups] == [[0], [1]]
    moment = optimizer.state[1]["exp_avg"]
    assert isinstance(moment, TensorRef)
    assert moment.shape == (5,)
    assert [path for path, _ in optimizer.places[moment.storage]] == [
        f"global_step200/{PARTITION.format(rank)}" for rank in (0, 1)
    ]


def test_sub_groups_are_parts_of_their_group(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run", stage=3)
    on_all(run, lambda inner: inner.update(param_groups=[{**inner["param_groups"][0], "params": [0, 1]}]))

    optimizer = newest(run).optimizer

    assert optimizer.state.keys() == {0}
    assert optimizer.state[0]["exp_avg"].shape == (101,)
    assert len(optimizer.places["exp_avg of group 0"]) == 4


def test_a_group_without_parameters_has_no_state(run: Path) -> None:
    def change(inner: dict[str, Any]) -> None:
        inner["param_groups"].insert(0, {**inner["param_groups"][0], "params": []})

    on_all(run, change)

    assert [group["params"] for group in newest(run).optimizer.groups] == [[], [0], [1]]


def test_ranks_of_different_forms_are_not_put_together(run: Path) -> None:
    edit_inner(run / "checkpoint-200", 1, lambda inner: inner.update(state={}))

    with pytest.raises(NotApplicable, match="are not alike"):
        _ = newest(run).optimizer


@pytest.mark.parametrize(
    "change",
    [
        lambda inner: inner.update(state=None),
        lambda inner: inner.update(state={"a": {}}),
        lambda inner: inner.update(param_groups=[None]),
        lambda inner: [group.update(params=None) for group in inner["param_groups"]],
    ],
    ids=["no state", "state by name", "no group", "no parameters"],
)
def test_a_state_of_another_shape_is_not_read(run: Path, change: Change) -> None:
    on_all(run, change)

    with pytest.raises(NotApplicable):
        _ = newest(run).optimizer


def test_no_state_on_any_rank(run: Path) -> None:
    on_all(run, lambda inner: inner.update(state={}))

    assert found(run) == ["optimizer/fresh"]


def test_no_moments_on_any_rank(run: Path) -> None:
    def emptied(entry: dict[str, Any]) -> None:
        for key in ("exp_avg", "exp_avg_sq"):
            entry[key] = entry[key]._replace(data=bytes(len(entry[key].data)))

    on_all(run, entries(emptied))

    assert found(run) == ["optimizer/fresh"]


def test_no_counts_on_any_rank(run: Path) -> None:
    on_all(run, entries(lambda entry: entry.pop("step")))

    assert found(run) == ["optimizer/parameter-mismatch"]


def test_one_moment_missing_on_all_ranks(run: Path) -> None:
    on_all(run, entries(lambda entry: entry.pop("exp_avg_sq")))

    assert found(run) == ["optimizer/parameter-mismatch"]


def test_no_groups_on_any_rank(run: Path) -> None:
    on_all(run, lambda inner: inner.update(param_groups=[]))

    assert found(run) == ["optimizer/parameter-mismatch"]


def test_a_second_moment_below_zero(run: Path) -> None:
    def negative(entry: dict[str, Any]) -> None:
        entry["exp_avg_sq"] = entry["exp_avg_sq"]._replace(data=pack("<f", -1.0) + entry["exp_avg_sq"].data[4:])

    edit_inner(run / "checkpoint-200", 1, entries(negative))

    assert found(run) == ["optimizer/negative-moment"]


def test_another_learning_rate_than_that_of_the_schedule(run: Path) -> None:
    on_all(run, lambda inner: [group.update(lr=0.5) for group in inner["param_groups"]])

    assert found(run) == ["learning-rate/scheduler-disagrees"]


def test_another_weight_decay_than_in_the_checkpoint_before(run: Path) -> None:
    on_all(run, lambda inner: [group.update(weight_decay=5.0) for group in inner["param_groups"]])

    assert found(run) == ["optimizer/hyperparameters-changed"]


def test_an_optimizer_without_a_state(tmp_path: Path) -> None:
    """SGD without momentum."""

    def plain(inner: dict[str, Any]) -> None:
        groups = [{key: group[key] for key in ("params", "lr", "initial_lr")} for group in inner["param_groups"]]
        inner.update(state={}, param_groups=[{**group, "momentum": 0} for group in groups])

    run = make_zero(tmp_path / "run")
    for step in (100, 200):
        for rank in (0, 1):
            edit_inner(run / f"checkpoint-{step}", rank, plain)

    assert found(run) == []


def test_no_state_while_every_step_overflowed(tmp_path: Path) -> None:
    """The engine counts what it skipped."""
    run = make_zero(tmp_path / "run", steps=(200,))
    edit_engine(run / "checkpoint-200", lambda value: {**value, "skipped_steps": 200})
    on_all(run, lambda inner: inner.update(state={}))

    assert found(run) == []


def test_updates_that_were_skipped(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run")
    edit_engine(run / "checkpoint-200", lambda value: {**value, "skipped_steps": 4})
    on_all(run, entries(lambda entry: entry.update(step=entry["step"]._replace(data=pack("<f", 196)))))

    assert found(run) == []


def engine_with(run: Path, schedule: dict[str, Any]) -> None:
    """Let the engine keep the schedule, as for a script that hands its scheduler to ``deepspeed.initialize``."""
    (run / "checkpoint-200" / "scheduler.pt").unlink()
    edit_engine(run / "checkpoint-200", lambda value: {**own_scheduler(value), "lr_scheduler": schedule})


@pytest.mark.parametrize(("more", "rules"), [(0.0, []), (1e-5, ["learning-rate/scheduler-disagrees"])])
def test_a_scheduler_of_torch_in_the_engine(tmp_path: Path, more: float, rules: list[str]) -> None:
    run = make_zero(tmp_path / "run")
    rates = [group["lr"] + more for group in newest(run).optimizer.groups]
    engine_with(run, {"_last_lr": rates, "last_epoch": 200, "_step_count": 201, "T_max": 400})

    assert newest(run).scheduler.last_lr == rates
    assert found(run) == rules


def test_a_scheduler_of_deepspeed_keeps_no_rates(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run")
    engine_with(run, {"last_batch_iteration": 199})

    assert newest(run).optional("scheduler") is None
    assert found(run) == []
