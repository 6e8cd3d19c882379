"""plan/optimizer-changed: the state in the checkpoint is AdamW's, unless a test changes it."""

from pathlib import Path
from typing import Any

import pytest

from audit.testing.runs import edit_optimizer, make_run
from tests.plugins.audit_rules.plan.conftest import Planned


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


@pytest.mark.parametrize("optim", ["sgd", "adafactor", "adagrad", "rmsprop", "adamw_8bit", "paged_lion_8bit",
                                   "galore_adamw", "schedule_free_adamw"])  # fmt: skip
def test_another_optimizer_cannot_go_on(run: str, plan: Planned, optim: str) -> None:
    (finding,) = plan(run, arguments={"optim": optim})
    assert f"optim is planned as {optim}, but the optimizer state of checkpoint-300 is that of Adam" in finding.message


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused", "adamw_apex_fused"])
def test_a_variant_of_the_same_one_goes_on(run: str, plan: Planned, optim: str) -> None:
    assert not plan(run, arguments={"optim": optim})
    assert plan.outcome is not None
    assert plan.outcome.outcome.value == "pass"


def test_one_of_another_kind_is_not_judged(run: str, plan: Planned) -> None:
    assert not plan(run, arguments={"optim": "stable_adamw"})
    assert "not known" in plan.reason


def sgd(value: dict[str, Any]) -> None:
    value["state"] = {}
    for group in value["param_groups"]:
        del group["betas"], group["eps"]
        group.update(momentum=0, dampening=0)


def rmsprop(value: dict[str, Any]) -> None:
    for entry in value["state"].values():
        entry["square_avg"] = entry.pop("exp_avg_sq")
        del entry["exp_avg"]


def adagrad(value: dict[str, Any]) -> None:
    for entry in value["state"].values():
        entry["sum"] = entry.pop("exp_avg_sq")
        del entry["exp_avg"]


def mystery(value: dict[str, Any]) -> None:
    for entry in value["state"].values():
        entry["mystery"] = entry.pop("exp_avg_sq")
        del entry["exp_avg"]


def test_a_state_of_an_unknown_optimizer_is_not_judged(run: str, plan: Planned) -> None:
    edit_optimizer(Path(run, "checkpoint-300"), mystery)
    assert not plan(run, arguments={"optim": "adamw_torch"})
    assert "not known" in plan.reason


@pytest.mark.parametrize(("change", "optim"), [(sgd, "sgd"), (rmsprop, "rmsprop"), (adagrad, "adagrad")])
def test_without_a_name_it_is_adam_if_audit_train_decides(run: str, plan: Planned, change: Any, optim: str) -> None:
    edit_optimizer(Path(run, "checkpoint-300"), change)
    assert len(plan(run, owned=True, arguments={"save_steps": 5})) == 1
    assert not plan(run, arguments={"save_steps": 5})
    assert not plan(run, owned=True, arguments={"optim": optim})


def test_projections_of_galore_are_no_moments_of_adam(run: str, plan: Planned) -> None:
    edit_optimizer(Path(run, "checkpoint-300"), lambda value: value["param_groups"][0].update(rank=4))
    assert plan(run, arguments={"optim": "adamw_torch"})
    assert not plan(run, arguments={"optim": "galore_adamw"})
