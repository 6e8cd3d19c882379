"""How many updates were made, and whether some may have been skipped."""

from types import SimpleNamespace
from typing import Any

import pytest

from audit.plugin import Checkpoint, Layout
from audit_rules._updates import counts_batches, late, overwritten, reached, uses_fp16


def checkpoint(step: int = 10, arguments_file: str = "training_args.bin", state_file: str = "", **facts: Any) -> Any:
    backend = SimpleNamespace(arguments_file=arguments_file, state_file=state_file)
    return SimpleNamespace(step=step, backend=backend, optional=facts.get)


SCALED = Layout("full", scaler="scaler.pt")


@pytest.mark.parametrize(
    ("found", "may"),
    [
        (checkpoint(layout=SCALED, arguments={"fp16": False}), True),
        (checkpoint(layout=Layout("full"), arguments={"fp16": False}), False),
        (checkpoint(layout=Layout("full"), arguments={"fp16": True}), True),
        (checkpoint(layout=Layout("full")), True),  # nobody knows
        (checkpoint(arguments={"fp16": True}), True),
        (checkpoint(layout=Layout("full"), arguments_file=""), False),
        (checkpoint(layout=SCALED, arguments_file=""), True),
    ],
)
def test_updates_may_have_been_skipped_where_there_is_a_scaler_or_may_have_been_one(
    found: Checkpoint, may: bool
) -> None:
    assert uses_fp16(found) is may


def test_a_checkpoint_is_of_the_step_that_it_says_and_otherwise_of_that_of_its_name() -> None:
    assert reached(checkpoint(10)) == 10
    assert reached(checkpoint(10, global_step=7)) == 7
    assert reached(checkpoint(10, global_step=0)) == 0


@pytest.mark.parametrize(("updates", "later"), [(11, True), (10, False), (None, False)])
def test_more_updates_than_steps_are_those_of_a_later_save(updates: float | None, later: bool) -> None:
    assert overwritten(checkpoint(10, updates=updates)) is later


@pytest.mark.parametrize(
    ("others", "count", "done", "batches"),
    [
        ({40: 10, 80: 20}, 30, 120, True),
        ({40: 10, 80: 21}, 30, 120, False),
        ({40: 10}, 30, 121, False),  # no whole number
        ({40: 10}, 30, 90, False),
        ({40: None}, 30, 120, False),  # nobody agrees
        ({}, 30, 120, False),
        ({40: 10}, 0, 120, False),
    ],
)
def test_names_count_batches_if_each_update_took_the_same_whole_number_of_them(
    others: dict[int, float | None], count: float, done: int, batches: bool
) -> None:
    asked = checkpoint(done)
    asked.run = SimpleNamespace(checkpoints=[asked, *(checkpoint(step, updates=made) for step, made in others.items())])

    assert counts_batches(asked, count, done) is batches
    asked.backend.state_file = "trainer_state.json"  # it says its step itself
    assert not counts_batches(asked, count, done)


@pytest.mark.parametrize(
    ("by_trainer", "seconds", "found"), [(True, 3, True), (True, 2, False), (True, -3, False), (False, 3, False)]
)
def test_a_file_is_late_if_the_trainer_wrote_it_seconds_after_its_state(
    by_trainer: bool, seconds: int, found: bool
) -> None:
    times = {"state.json": 10**18, "optimizer.pt": 10**18 + seconds * 10**9}
    judged = checkpoint(state_file="state.json")
    judged.run = SimpleNamespace(clock=SimpleNamespace(by_trainer=by_trainer))
    judged.entries = {name: SimpleNamespace(mtime_ns=time) for name, time in times.items()}

    assert late(judged, "optimizer.pt") is found
    assert not late(judged, "gone.pt")
