"""plan/setting-ignored: what a resume keeps (learning rate 1e-4, betas 0.9 and 0.999, eps 1e-8, no weight decay)."""

from pathlib import Path
from typing import Any

import pytest

from audit.findings import Severity
from audit.testing.runs import edit_arguments, edit_optimizer, edit_scheduler, make_run
from tests.plugins.audit_rules.plan.conftest import Planned

SAME = {"learning_rate": 1e-4, "weight_decay": 0, "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8}


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("learning_rate", 5e-4, "learning_rate is planned as 0.0005, kept is 0.0001"),
        ("weight_decay", 0.1, "weight_decay is planned as 0.1, kept is 0"),
        ("adam_beta1", 0.8, "adam_beta1 is planned as 0.8, kept is 0.9"),
        ("adam_beta2", 0.95, "adam_beta2 is planned as 0.95, kept is 0.999"),
        ("adam_epsilon", 1e-6, "adam_epsilon is planned as 1e-06, kept is 1e-08"),
    ],
)
@pytest.mark.parametrize("owned", [True, False])
def test_a_changed_setting_is_a_warning_with_both_values(
    run: str, plan: Planned, setting: str, value: float, told: str, owned: bool
) -> None:
    edit_arguments(Path(run, "checkpoint-300"), **SAME)
    (finding,) = plan(run, owned=owned, arguments={**SAME, setting: value})
    assert finding.severity is Severity.WARNING
    assert told in finding.message


def test_the_same_settings_pass(run: str, plan: Planned) -> None:
    assert not plan(run, owned=True, arguments=SAME)
    assert plan.outcome is not None
    assert plan.outcome.outcome.value == "pass"


def test_all_that_is_ignored_is_one_finding(run: str, plan: Planned) -> None:
    (finding,) = plan(run, owned=True, arguments={**SAME, "learning_rate": 1.0, "weight_decay": 0.5})
    assert "learning_rate is planned as 1, kept is 0.0001; weight_decay is planned as 0.5, kept is 0" in finding.message


@pytest.mark.parametrize(("planned", "found"), [(0.1, 0), (0.0, 1), (0.2, 1)])
def test_groups_without_weight_decay_are_normal(run: str, plan: Planned, planned: float, found: int) -> None:
    def decay(value: dict[str, Any]) -> None:
        value["param_groups"][0]["weight_decay"] = 0.1

    edit_optimizer(Path(run, "checkpoint-300"), decay)
    assert len(plan(run, owned=True, arguments={"weight_decay": planned})) == found


def test_one_group_may_have_another_rate(run: str, plan: Planned) -> None:
    edit_scheduler(Path(run, "checkpoint-300"), base_lrs=[1e-4, 1e-3])
    assert not plan(run, owned=True, arguments={"learning_rate": 1e-4})
    assert not plan(run, owned=True, arguments={"learning_rate": 1e-3})
    assert plan(run, owned=True, arguments={"learning_rate": 1e-2})


def test_without_a_schedule_the_optimizer_keeps_the_rate(run: str, plan: Planned) -> None:
    Path(run, "checkpoint-300", "scheduler.pt").unlink()
    assert not plan(run, owned=True, arguments={"learning_rate": 1e-4})
    assert plan(run, owned=True, arguments={"learning_rate": 1e-2})


def test_an_optimizer_without_betas_has_no_epsilon_of_adam(run: str, plan: Planned) -> None:
    def adafactor(value: dict[str, Any]) -> None:
        for group in value["param_groups"]:
            del group["betas"]
            group["eps"] = (1e-30, 1e-3)

    edit_optimizer(Path(run, "checkpoint-300"), adafactor)
    assert not plan(run, owned=True, arguments={"adam_epsilon": 1e-6, "adam_beta1": 0.5})
    assert "names no setting" in plan.reason


def test_a_command_may_build_an_optimizer_of_its_own(run: str, plan: Planned) -> None:
    edit_arguments(Path(run, "checkpoint-300"), weight_decay=0.1)
    assert not plan(run, arguments={"weight_decay": 0.1})
    assert plan(run, owned=True, arguments={"weight_decay": 0.1})  # it was ignored before, and is again


def test_defaults_are_not_compared(run: str, plan: Planned) -> None:
    assert not plan(run, owned=True, arguments={"weight_decay": 0.1}, settings={"arguments": {"save_steps": 5}})
    assert plan(run, owned=True, arguments={"weight_decay": 0.1}, settings={"arguments": {"weight_decay": 0.1}})
