"""The length of the schedule."""

from pathlib import Path

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_arguments, edit_state, edit_torch, make_run
from audit.testing.torch_files import Made


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def place(run: str, step: int = 300) -> Path:
    return Path(run, f"checkpoint-{step}")


def test_a_decaying_schedule_of_another_length_is_a_warning(run: str) -> None:
    edit_state(place(run), max_steps=900)
    (finding,) = check(run, "scheduler/horizon-changed")
    assert finding.checkpoint == "checkpoint-300"
    assert "linear schedule ends at step 900, but at step 300 in checkpoint-200" in finding.message
    assert finding.severity is Severity.WARNING


def test_a_length_that_grows_with_every_batch_is_one_finding(run: str) -> None:
    edit_state(place(run, 100), max_steps=100)
    edit_state(place(run, 200), max_steps=200)
    (finding,) = check(run, "scheduler/horizon-changed")
    assert finding.checkpoint == "checkpoint-200"


def test_a_constant_schedule_may_grow_with_every_batch(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", schedule="constant")
    for step in (100, 200, 300):
        edit_state(place(run, step), max_steps=step)
    assert outcome(run, "scheduler/horizon-changed", "checkpoint-300").outcome is Outcome.NOT_APPLICABLE


def test_another_scheduler_than_the_arguments_name_is_not_judged(run: str) -> None:
    for step in (100, 200, 300):
        edit_torch(
            place(run, step) / "scheduler.pt", lambda value: {key: value[key] for key in value if key != "lr_lambdas"}
        )
    edit_state(place(run), max_steps=900)
    assert outcome(run, "scheduler/horizon-changed", "checkpoint-300").outcome is Outcome.NOT_APPLICABLE


def test_a_schedule_with_lengths_of_its_own_may_grow(run: str) -> None:
    name = Made("transformers.trainer_utils.SchedulerType", ("warmup_stable_decay",))
    for step in (100, 200, 300):
        options = {"num_stable_steps": 50, "num_decay_steps": 10}
        edit_arguments(place(run, step), lr_scheduler_type=name, lr_scheduler_kwargs=options)
        edit_state(place(run, step), max_steps=step)
    assert not check(run, "scheduler/horizon-changed")


def plateau(run: str, lengths: dict[int, int], decay: int | None = 10) -> None:
    """A schedule that decays over its last steps only; the length of each checkpoint's leg."""
    name = Made("transformers.trainer_utils.SchedulerType", ("warmup_stable_decay",))
    for step, length in lengths.items():
        edit_arguments(place(run, step), lr_scheduler_type=name, lr_scheduler_kwargs={"num_decay_steps": decay})
        edit_state(place(run, step), max_steps=length)


def test_a_plateau_that_becomes_longer_before_its_decay_is_no_change(run: str) -> None:
    plateau(run, {100: 110, 200: 230, 300: 300})

    assert check(run, "scheduler/horizon-changed") == []
    assert outcome(run, "scheduler/horizon-changed", "checkpoint-300").outcome is Outcome.NOT_APPLICABLE


def test_a_plateau_whose_end_is_not_known_is_none(run: str) -> None:
    plateau(run, {100: 110, 200: 230, 300: 300}, decay=None)

    assert [finding.checkpoint for finding in check(run, "scheduler/horizon-changed")] == ["checkpoint-200"]


def test_a_schedule_that_becomes_longer_in_its_decay_is_a_change(run: str) -> None:
    plateau(run, {100: 110, 200: 205, 300: 400})

    (finding,) = check(run, "scheduler/horizon-changed")
    assert finding.checkpoint == "checkpoint-300"
