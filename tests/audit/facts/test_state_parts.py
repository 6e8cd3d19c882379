"""The parts of a state that was saved at once: their names, the scheduler among them, and what tells old from new."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from audit.errors import NotApplicable
from audit.facts.checkpoint import Checkpoint
from audit.facts.run import open_run
from audit.manager import load
from tests.dcp import Value, make_whole

SCHEDULER: dict[str, Any] = {
    "base_lrs": [1e-4], "last_epoch": 100.0, "_step_count": 101.0, "_last_lr": [1e-4], "lr_lambdas.0.factor": 2.0,
}  # fmt: skip


def last(path: Path, extra: Mapping[str, Value]) -> Checkpoint:
    run = make_whole(path / "run", (100,), lambda _: extra)
    return open_run(str(run), load().backends).checkpoints[-1]


def test_what_is_beside_the_optimizer_is_a_part(tmp_path: Path) -> None:
    found = last(tmp_path, {"loader.epoch": 1.0, "train_state.step": 2.0})

    assert found.state_names == {"loader", "train_state", "model", "optimizer"}


def test_a_scheduler_is_put_together(tmp_path: Path) -> None:
    found = last(tmp_path, {f"lr_scheduler.{key}": value for key, value in SCHEDULER.items()}).scheduler

    assert (found.kind, found.last_lr, found.base_lrs) == ("lambda", [1e-4], [1e-4])
    assert found.values["lr_lambdas"] == [{"factor": 2.0}]


def test_a_scheduler_in_another_is_a_part_of_it(tmp_path: Path) -> None:
    outer: dict[str, Value] = {f"lr_scheduler.{key}": 1.0 for key in ("last_epoch", "_step_count")}
    inner: dict[str, Value] = {
        f"lr_scheduler._schedulers.{number}.{key}": 2.0 for number in (0, 1) for key in ("last_epoch", "_step_count")
    }
    found = last(tmp_path, {**outer, **inner}).scheduler

    assert found.kind == "sequential"
    assert [item["last_epoch"] for item in found.values["_schedulers"]] == [2.0, 2.0]


@pytest.mark.parametrize("tops", [(), ("first", "second")])
def test_none_or_two_schedulers_are_not_read(tmp_path: Path, tops: tuple[str, ...]) -> None:
    values: dict[str, Value] = {f"{top}.{key}": 1.0 for top in tops for key in ("last_epoch", "_step_count")}
    with pytest.raises(NotApplicable, match=f"the states of {len(tops)} schedulers"):
        _ = last(tmp_path, values).scheduler


def test_the_digests_are_those_of_what_is_trained(tmp_path: Path) -> None:
    make: Callable[[str, float], Any] = lambda name, value: last(tmp_path / name, {"train_state.step": value}).prints  # noqa: E731
    first, second = make("a", 1.0), make("b", 2.0)

    assert first == second
    assert {what for what, _ in first} == {"weights", "exp_avg", "exp_avg_sq"}
    assert {rank for _, rank in first} == {"", "/0", "/1"}
    assert first["weights", ""].parameters == 3
    assert first["weights", ""].single
    assert first["weights", "/0"].digest != first["weights", "/1"].digest
