"""Values of the groups that should stay."""

from pathlib import Path
from typing import Any

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome, report
from audit.testing.runs import edit_optimizer, edit_torch, make_run
from audit.testing.torch_files import FakeTensor
from tests.audit.batch_rows import leg, tell

Value = dict[str, Any]


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def place(run: str, step: int = 300) -> Path:
    return Path(run, f"checkpoint-{step}")


def only(run: str) -> Any:
    """The one finding of all rules on optimizer, scheduler, weights and adapter."""
    (finding,) = report(run, "optimizer", "scheduler", "weights", "adapter").findings
    return finding


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("betas", (0.9, 0.95), "betas of group 0 is (0.9, 0.95) and was (0.9, 0.999) in checkpoint-200"),
        ("eps", 1e-6, "eps of group 0 is 1e-06"),
        ("weight_decay", 0.1, "weight_decay of group 0 is 0.1"),
        ("amsgrad", True, "amsgrad of group 0 is True and was False"),
        ("initial_lr", 1.0, "initial_lr of group 0 is 1"),
    ],
)
def test_a_changed_hyperparameter_is_a_warning(run: str, key: str, value: object, told: str) -> None:
    edit_optimizer(place(run), lambda state: state["param_groups"][0].update({key: value}))
    finding = only(run)
    assert finding.rule == "optimizer/hyperparameters-changed"
    assert finding.severity is Severity.WARNING
    assert told in finding.message


def test_moments_of_another_type_are_a_warning(run: str) -> None:
    def halve(value: Value) -> None:
        for entry in value["state"].values():
            for key in ("exp_avg", "exp_avg_sq"):
                entry[key] = FakeTensor("BF16", entry[key].shape, entry[key].data[2::4] and b"\x80\x3f" * 64)

    edit_optimizer(place(run), halve)
    assert "type of the moments is BF16 and was F32" in only(run).message


def test_the_learning_rate_is_no_hyperparameter_that_stays(run: str) -> None:
    assert outcome(run, "optimizer/hyperparameters-changed", "checkpoint-300").outcome is Outcome.PASS


@pytest.mark.parametrize(("setting", "found"), [("adam_epsilon", 0), ("weight_decay", 1)])
def test_what_a_person_changed_is_no_violation(run: str, setting: str, found: int) -> None:
    edit_optimizer(place(run), lambda state: state["param_groups"][0].update(eps=1e-6))
    tell(run, leg("a", 0, 200), leg("b", 200, 300) | {"changes": {setting: 1e-6}})

    assert len(report(run, "optimizer/hyperparameters-changed").findings) == found


@pytest.mark.parametrize(("changes", "found"), [({"betas": (0.9, 0.95)}, 0), ({"eps": 1e-6}, 1)])
@pytest.mark.parametrize("scheduler", ["another", "none"])
def test_betas_may_move_under_another_scheduler(run: str, scheduler: str, changes: Value, found: int) -> None:
    edit_optimizer(place(run), lambda state: state["param_groups"][0].update(changes))
    if scheduler == "none":
        (place(run) / "scheduler.pt").unlink()
    else:
        edit_torch(place(run) / "scheduler.pt", lambda value: {key: value[key] for key in value if key != "lr_lambdas"})

    assert len(check(run, "optimizer/hyperparameters-changed")) == found


@pytest.mark.parametrize(("value", "found"), [(1 << 62, True), (1 << 63, False), (-1 << 63, False)])
def test_an_integer_that_is_made_up_is_not_compared(run: str, value: int, found: bool) -> None:
    edit_optimizer(place(run), lambda state: state["param_groups"][0].update(weight_decay=value))

    assert bool(check(run, "optimizer/hyperparameters-changed")) is found
