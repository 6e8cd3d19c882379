"""plan/never-saves: a batch reaches a checkpoint."""

from pathlib import Path
from typing import Any

import pytest

from audit.testing.runs import make_run
from tests.plugins.audit_rules.plan.conftest import Planned


def test_save_steps_beyond_the_batch_are_an_error(plan: Planned) -> None:
    (finding,) = plan(None, steps=40, arguments={"save_steps": 50})
    assert "trained in 40 steps, 1 to 40, and none of them is a multiple of save_steps, 50" in finding.message
    assert finding.file == "new.jsonl"


def test_multiples_count_from_the_beginning_of_the_run(plan: Planned) -> None:
    assert not plan(None, first=30, steps=20, arguments={"save_steps": 50})
    (finding,) = plan(None, first=51, steps=48, arguments={"save_steps": 50})
    assert finding.expected == "a multiple of 50 up to 99"
    (finding,) = plan(None, first=50, steps=40, arguments={"save_steps": 50})
    assert finding.expected == "at most 40"


@pytest.mark.parametrize(
    "arguments",
    [
        {"save_steps": 40},
        {"save_steps": 500, "max_steps": 40},
        {"save_steps": 500, "num_train_epochs": 4},
        {"save_steps": 0.5, "max_steps": 80},
        {"save_strategy": "epoch", "save_steps": 500},
    ],
)
def test_what_saves_in_the_batch_or_at_its_end_is_fine(plan: Planned, arguments: dict[str, Any]) -> None:
    assert not plan(None, steps=40, arguments=arguments)
    assert plan.outcome is not None
    assert plan.outcome.outcome.value == "pass"


def test_the_strategy_no_saves_nothing(plan: Planned) -> None:
    (finding,) = plan(None, steps=40, arguments={"save_strategy": "no"})
    assert "nothing of new.jsonl would be saved" in finding.message


def test_the_save_steps_of_the_checkpoint_win_over_changed_ones(tmp_path: Path, plan: Planned) -> None:
    run = make_run(tmp_path / "run", (100, 200))
    (finding,) = plan(run, steps=40, arguments={"save_steps": 10})
    assert finding.actual == 100


def test_a_backend_that_saves_at_the_end_of_each_leg_is_not_judged(plan: Planned) -> None:
    assert not plan(None, steps=40, owned=True, arguments={"save_steps": 500})
    assert "audit train saves at the end of each leg" in plan.reason


def test_a_table_that_does_not_say_when_is_not_judged(plan: Planned) -> None:
    assert not plan(None, steps=40, arguments={"learning_rate": 1e-4})
    assert "has neither save_steps nor an end of training" in plan.reason
    assert not plan(None, steps=40, arguments={"save_strategy": "best", "save_steps": 500})
    assert "strategy best" in plan.reason
    assert not plan(None, steps=None, arguments={"save_steps": 500})
    assert "examples_per_step" in plan.reason
