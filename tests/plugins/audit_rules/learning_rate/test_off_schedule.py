from pathlib import Path
from typing import Any

import pytest

from audit.facts.schedules import factor, warmups
from audit.findings import Outcome
from audit.testing.judging import check, outcome, report
from audit.testing.runs import edit_arguments, edit_optimizer, edit_scheduler, edit_state, make_run


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_doubled_base_rates_are_one_finding(tmp_path: Path, schedule: str) -> None:
    run = make_run(tmp_path, max_steps=600, schedule=schedule)
    edit_scheduler(tmp_path / "checkpoint-300", base_lrs=[2e-4, 2e-4])

    (finding,) = check(run, "learning-rate/off-schedule")

    assert finding.file == "scheduler.pt"
    assert (finding.expected, finding.actual) == (1e-4, 2e-4)
    assert {item.rule for item in report(run, "learning-rate").findings} == {"learning-rate/off-schedule"}


def test_a_base_rate_is_compared_where_the_schedule_has_ended_and_has_no_formula(tmp_path: Path) -> None:
    run = make_run(tmp_path, lr_scheduler_type="polynomial")
    edit_scheduler(tmp_path / "checkpoint-300", base_lrs=[2e-4, 2e-4])

    assert [item.actual for item in check(run, "learning-rate/off-schedule")] == [2e-4]


def test_without_an_optimizer_the_formula_shows_a_doubled_base_rate(tmp_path: Path) -> None:
    run = make_run(tmp_path, max_steps=600)
    edit_scheduler(tmp_path / "checkpoint-300", base_lrs=[2e-4, 2e-4])
    (tmp_path / "checkpoint-300/optimizer.pt").unlink()

    (finding,) = check(run, "learning-rate/off-schedule")

    assert "is 5e-05, but the linear schedule gives 0.0001 at step 300 of 600" in finding.message


def test_a_changed_rate_in_the_scheduler_explains_that_the_optimizer_has_another(tmp_path: Path) -> None:
    run = make_run(tmp_path, max_steps=600)
    edit_scheduler(tmp_path / "checkpoint-300", _last_lr=[9e-5, 9e-5])

    assert {item.rule for item in report(run, "learning-rate").findings} == {"learning-rate/off-schedule"}


def test_a_changed_horizon_is_blamed_on_the_trainer_state(tmp_path: Path) -> None:
    run = make_run(tmp_path, max_steps=600)
    edit_state(tmp_path / "checkpoint-300", max_steps=400)

    (finding,) = check(run, "learning-rate/off-schedule")

    assert finding.file == "trainer_state.json"
    assert "the logged rates follow max_steps 600" in finding.message


def test_a_changed_horizon_is_seen_where_the_arguments_give_epochs_and_no_steps(tmp_path: Path) -> None:
    run = make_run(tmp_path, max_steps=600)
    for step in (100, 200, 300):
        edit_arguments(tmp_path / f"checkpoint-{step}", max_steps=-1)
    edit_state(tmp_path / "checkpoint-300", max_steps=400)

    assert "the logged rates follow max_steps 600" in check(run, "learning-rate/off-schedule")[0].message


@pytest.mark.parametrize(("fp16", "found"), [(True, 1), (False, 0)])
def test_the_log_may_be_behind_by_the_steps_that_a_gradient_scaler_skipped(
    tmp_path: Path, fp16: bool, found: int
) -> None:
    run = make_run(tmp_path, max_steps=600, fp16=fp16)
    edit_scheduler(tmp_path / "checkpoint-300", base_lrs=[2e-4, 2e-4])
    (tmp_path / "checkpoint-300/optimizer.pt").unlink()
    edit_state(
        tmp_path / "checkpoint-300",
        log_history=lambda log: [{**item, "learning_rate": 1e-4 * (1 - (item["step"] - 5) / 600)} for item in log],
    )

    assert len(check(run, "learning-rate/off-schedule")) == found


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_a_sound_run_passes(tmp_path: Path, schedule: str) -> None:
    run = make_run(tmp_path, max_steps=700, schedule=schedule)

    assert outcome(run, "learning-rate/off-schedule", "checkpoint-300").outcome is Outcome.PASS


def test_a_program_with_a_scheduler_of_its_own_is_left_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path, max_steps=700, schedule="cosine")
    for step in (100, 200, 300):
        edit_arguments(tmp_path / f"checkpoint-{step}", lr_scheduler_type="linear")

    assert check(run, "learning-rate/off-schedule") == []
    assert "its own scheduler" in str(outcome(run, "learning-rate/off-schedule", "checkpoint-300").reason)


@pytest.mark.parametrize("changes", [{"mode": "min", "num_bad_epochs": 0}, {"smooth": 1}])
def test_other_schedulers_have_no_formula(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = make_run(tmp_path, steps=(100,), lr_scheduler_type="polynomial", **changes)

    assert outcome(run, "learning-rate/off-schedule", "checkpoint-100").outcome is Outcome.NOT_APPLICABLE


def test_each_group_has_its_own_base_rate(tmp_path: Path) -> None:
    run = make_run(tmp_path, max_steps=600)
    edit_scheduler(tmp_path / "checkpoint-300", base_lrs=[1e-4, 4e-4], _last_lr=[5e-5, 2e-4])
    rates = {"lr": 2e-4, "initial_lr": 4e-4}
    edit_optimizer(tmp_path / "checkpoint-300", lambda document: document["param_groups"][1].update(rates))

    assert report(run, "learning-rate").findings == ()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"warmup_steps": 30, "warmup_ratio": 0.5}, (30,)),
        ({"warmup_steps": 0, "warmup_ratio": 0.05}, (30,)),
        ({"warmup_steps": 0.05, "warmup_ratio": None}, (30, 0.05)),
        ({}, (0,)),
        ({"warmup_steps": "many"}, ()),
    ],
)
def test_the_warm_up_is_read_as_each_version_reads_it(arguments: dict[str, Any], expected: tuple[float, ...]) -> None:
    assert warmups(arguments, 600) == expected


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("linear", {}),
        ("cosine", {}),
        ("cosine", {"num_cycles": 1.5}),
        ("constant", {}),
        ("constant_with_warmup", {}),
        ("cosine_with_restarts", {"num_cycles": 3}),
        ("cosine_with_min_lr", {"min_lr_rate": 0.1}),
        ("cosine_with_min_lr", {"min_lr": 2e-5}),
    ],
)
def test_the_formulas_are_those_of_transformers(kind: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    optimization = pytest.importorskip("transformers.optimization")
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    scheduler = optimization.get_scheduler(kind, optimizer, 7, 50, scheduler_specific_kwargs=options)

    for step in range(60):
        share = factor(kind, step, 7, 50, options, 1e-4)
        assert share is not None
        assert 1e-4 * share == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9, abs=1e-18)
        optimizer.step()
        scheduler.step()
