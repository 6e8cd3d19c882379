"""The count of steps against the trainer's."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome, report
from audit.testing.runs import edit_scheduler, edit_torch, make_run
from tests.dcp import Value, make_whole
from tests.lightning import make_lightning

RULE = "scheduler/step-mismatch"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def place(run: str, step: int = 300) -> Path:
    return Path(run, f"checkpoint-{step}")


def lag(run: str, step: int, updates: int) -> None:
    edit_scheduler(place(run, step), last_epoch=updates, _step_count=updates + 1)
    (place(run, step) / "optimizer.pt").unlink()


def plateau(values: dict[str, Any]) -> dict[str, Any]:
    counts = {"last_epoch": 3, "num_bad_epochs": 0, "cooldown": 0, "cooldown_counter": 0, "patience": 10}
    limits = {"factor": 0.1, "threshold": 1e-4, "threshold_mode": "rel", "eps": 1e-8, "min_lrs": [0, 0]}
    return {"mode": "min", "best": 1.0, "_last_lr": values["_last_lr"], **counts, **limits}


@pytest.mark.parametrize("at", [299, 308, 100])
def test_another_position_than_the_trainer_s_is_found(run: str, at: int) -> None:
    edit_scheduler(place(run), last_epoch=at, _step_count=at + 1)
    (finding,) = report(run, "scheduler", "optimizer").findings
    assert finding.rule == RULE
    assert f"at step {at}, but the trainer did 300 steps" in finding.message
    assert finding.blocks_resume


def test_a_copied_scheduler_is_one_finding(run: str) -> None:
    shutil.copyfile(place(run, 200) / "scheduler.pt", place(run) / "scheduler.pt")
    (finding,) = report(run, "scheduler", "optimizer").findings
    assert finding.rule == RULE


def test_a_count_of_calls_that_is_not_one_more_is_found(run: str) -> None:
    edit_scheduler(place(run), _step_count=300)
    (finding,) = check(run, RULE)
    assert "called 300 times instead of 301" in finding.message


@pytest.mark.parametrize(("at", "found"), [(300, 0), (200, 1), (199, 1), (301, 1)])
def test_with_an_fp16_scaler_the_schedule_may_wait_but_not_behind_the_optimizer(
    tmp_path: Path, at: int, found: int
) -> None:
    run = make_run(tmp_path / "run", fp16=True)
    edit_scheduler(place(run), last_epoch=at, _step_count=at + 1)
    assert len(check(run, RULE)) == found


@pytest.mark.parametrize(("updates", "found"), [(293, 0), (196, 1), (190, 1)])
def test_with_an_fp16_scaler_the_schedule_goes_on_from_the_checkpoint_before(
    tmp_path: Path, updates: int, found: int
) -> None:
    run = make_run(tmp_path / "run", fp16=True)
    lag(run, 200, 196)
    lag(run, 300, updates)
    assert len(check(run, RULE)) == found


def test_a_plateau_scheduler_counts_evaluations(run: str) -> None:
    for step in (100, 200, 300):
        edit_torch(place(run, step) / "scheduler.pt", plateau)
    assert not report(run, "scheduler").findings
    assert outcome(run, RULE, "checkpoint-300").outcome is Outcome.NOT_APPLICABLE


@pytest.mark.parametrize("lost", ["last_epoch", "_step_count"])
def test_a_scheduler_that_counts_only_half_is_not_judged(run: str, lost: str) -> None:
    for step in (100, 200, 300):
        edit_torch(
            place(run, step) / "scheduler.pt", lambda values: {key: values[key] for key in values if key != lost}
        )
    assert outcome(run, RULE, "checkpoint-300").outcome is Outcome.NOT_APPLICABLE


def test_the_scheduler_of_another_kind_of_run_is_found(run: str) -> None:
    edit_torch(place(run) / "scheduler.pt", plateau)
    (finding,) = check(run, RULE)
    assert "is of ReduceLROnPlateau, but that of checkpoint-200 is of a schedule of transformers" in finding.message


def test_an_empty_scheduler_of_a_trainer_of_one_s_own_is_not_judged(run: str) -> None:
    for step in (100, 200, 300):
        edit_torch(place(run, step) / "scheduler.pt", lambda values: {})
    assert not report(run, "scheduler").findings


def test_a_sound_run_passes(run: str) -> None:
    for rule in (RULE, "scheduler/horizon-changed"):
        assert outcome(run, rule, "checkpoint-300").outcome is Outcome.PASS


def _in_one_state(path: Path, positions: dict[int, int]) -> str:
    def extra(step: int) -> dict[str, Value]:
        at = positions[step]
        return {"sched.last_epoch": at, "sched._step_count": at + 1, "sched.base_lrs": [1e-4], "sched._last_lr": [1e-4]}

    return str(make_whole(path / "run", tuple(positions), extra))


@pytest.mark.parametrize("beside", [0, -1])
def test_in_a_state_of_dcp_it_is_compared_with_the_others(tmp_path: Path, beside: int) -> None:
    run = _in_one_state(tmp_path, {100: 100 + beside, 200: 200 + beside, 300: 200 + beside})

    (finding,) = check(run, "scheduler/step-mismatch")
    assert finding.message == f".metadata has a schedule at step {200 + beside}, but the trainer did 300 steps"
    assert (finding.checkpoint, finding.blocks_resume) == ("step-300", True)


@pytest.mark.parametrize(
    "positions",
    [(1, 2, 3), (100, 200, 300), (100, 100), (50, 150, 200)],
    ids=["epochs", "steps", "one other", "from a later start"],
)
def test_in_a_state_of_dcp_another_count_passes(tmp_path: Path, positions: tuple[int, ...]) -> None:
    at = {100 * number: position for number, position in enumerate(positions, 1)}
    assert check(_in_one_state(tmp_path, at), "scheduler/step-mismatch") == []


@pytest.mark.parametrize(("steps", "found"), [((10, 20), 0), ((10, 20, 30), 1)])
def test_whether_a_schedule_counts_steps_or_epochs_is_told_by_two_others_at_least(
    tmp_path: Path, steps: tuple[int, ...], found: int
) -> None:
    run = make_lightning(tmp_path / "run", steps, last=False)

    def move(values: dict[str, Any]) -> None:
        values["lr_schedulers"][0].update(last_epoch=13, _step_count=14)

    edit_torch(run / "epoch=1-step=20.ckpt", move)

    assert len(check(str(run), RULE)) == found
