"""plan/schedule-moves: the rate goes on where it stopped."""

from pathlib import Path
from typing import Any

import pytest

from audit.findings import Severity
from audit.testing.runs import edit_scheduler, make_run
from tests.plugins.audit_rules.plan.conftest import Planned

LINEAR: dict[str, Any] = {"lr_scheduler_type": "linear", "max_steps": 600, "learning_rate": 1e-4}


def test_another_end_of_a_decay_moves_the_rate(tmp_path: Path, plan: Planned) -> None:
    run = make_run(tmp_path / "run", max_steps=600)
    (finding,) = plan(run, arguments={**LINEAR, "max_steps": 900})
    assert finding.severity is Severity.ERROR
    assert "is 5e-05, and the planned schedule (linear) gives 6.66667e-05 at step 300 of 900" in finding.message


def test_a_decay_that_had_come_to_its_end_would_jump_back(tmp_path: Path, plan: Planned) -> None:
    run = make_run(tmp_path / "run")  # one batch of 300 steps, down to 0
    (finding,) = plan(run, arguments={**LINEAR, "max_steps": 600})
    assert (finding.expected, finding.actual) == (0.0, 5e-5)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_the_same_schedule_goes_on(tmp_path: Path, plan: Planned, schedule: str) -> None:
    run = make_run(tmp_path / "run", max_steps=600, schedule=schedule)
    assert not plan(run, arguments={**LINEAR, "lr_scheduler_type": schedule})
    assert plan.outcome is not None
    assert plan.outcome.outcome.value == "pass"


def test_another_type_moves_the_rate_unless_it_is_the_same_there(tmp_path: Path, plan: Planned) -> None:
    run = make_run(tmp_path / "run", max_steps=600, schedule="constant")
    assert plan(run, arguments={**LINEAR, "lr_scheduler_type": "cosine"})
    assert not plan(run, arguments={**LINEAR, "lr_scheduler_type": "constant_with_warmup", "warmup_steps": 20})


def test_a_warm_up_that_would_still_go_on_moves_the_rate(tmp_path: Path, plan: Planned) -> None:
    run = make_run(tmp_path / "run", schedule="constant")
    (finding,) = plan(run, arguments={"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 600})
    assert finding.actual == 5e-5


@pytest.mark.parametrize(
    ("max_steps", "decay", "moves"),
    [
        (310, 10, False),  # the plateau reaches to the end of the batch
        (310, 5, False),
        (300 + 8, 8, False),  # the decay begins here
        (300 + 8, 16, True),  # it would have begun before
        (300, 10, True),
    ],
)
def test_the_plateau_goes_on_until_a_decay_is_asked_for(
    tmp_path: Path, plan: Planned, max_steps: int, decay: int, moves: bool
) -> None:
    run = make_run(tmp_path / "run", schedule="constant")
    options = {"num_decay_steps": decay}
    arguments = {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": options, "max_steps": max_steps}
    assert bool(plan(run, arguments=arguments)) is moves


def test_a_decay_in_progress_goes_on(tmp_path: Path, plan: Planned) -> None:
    run = make_run(tmp_path / "run", schedule="constant")
    edit_scheduler(Path(run, "checkpoint-300"), _last_lr=[5e-5, 5e-5])  # half of a cosine
    arguments = {"lr_scheduler_type": "warmup_stable_decay", "max_steps": 308}
    assert not plan(run, arguments={**arguments, "lr_scheduler_kwargs": {"num_decay_steps": 16}})


def test_a_changed_learning_rate_is_no_jump(tmp_path: Path, plan: Planned) -> None:
    run = make_run(tmp_path / "run", max_steps=600)
    assert not plan(run, arguments={**LINEAR, "learning_rate": 5e-4})


def test_by_epochs_the_end_is_counted_in_the_new_file(tmp_path: Path, plan: Planned) -> None:
    run = make_run(tmp_path / "run", max_steps=600)
    arguments = {"lr_scheduler_type": "linear", "num_train_epochs": 60}  # of 10 steps each
    assert not plan(run, arguments=arguments)
    assert plan(run, arguments=arguments, rows=50)


def test_what_has_no_formula_is_not_judged(tmp_path: Path, plan: Planned) -> None:
    run = make_run(tmp_path / "run")
    assert not plan(run, arguments={**LINEAR, "lr_scheduler_type": "cosine_warmup_with_min_lr"})
    assert "no formula" in plan.reason
    assert not plan(run, arguments={"max_steps": 600})
    assert "do not name an lr_scheduler_type" in plan.reason
    assert not plan(run, arguments={"lr_scheduler_type": "linear"})
    assert "neither max_steps nor num_train_epochs" in plan.reason
    assert not plan(None, arguments=LINEAR)
    assert "starts fresh" in plan.reason


@pytest.mark.parametrize("lost", ["base_lrs", "_last_lr"])
def test_a_scheduler_without_rates_is_not_judged(tmp_path: Path, plan: Planned, lost: str) -> None:
    run = make_run(tmp_path / "run", max_steps=600)
    edit_scheduler(Path(run, "checkpoint-300"), **{lost: None})
    assert not plan(run, arguments=LINEAR)
    assert "has no last_epoch, base_lrs and _last_lr of one length" in plan.reason
