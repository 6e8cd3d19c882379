"""plan/nothing-to-train: the planned end lies ahead. An epoch of the new file has 10 steps."""

import pytest

from tests.plugins.audit_rules.plan.conftest import Planned


@pytest.mark.parametrize("done", [10, 11, 300])
def test_one_epoch_of_a_second_file_is_over_before_it_begins(plan: Planned, done: int) -> None:
    (finding,) = plan(None, first=done, arguments={"num_train_epochs": 1})
    assert (
        f"num_train_epochs is 1, which for the size of new.jsonl ends at step 10, and step {done} is done"
        in finding.message
    )
    assert (finding.expected, finding.actual) == (10, 0)


def test_half_an_epoch_that_is_over_is_an_error_though_the_formula_gives_a_step(plan: Planned) -> None:
    (finding,) = plan(None, first=5, arguments={"num_train_epochs": 0.5})
    assert "ends at step 5, and step 5 is done" in finding.message


def test_a_max_steps_that_is_reached_is_an_error(plan: Planned) -> None:
    for most in (300, 299):
        (finding,) = plan(None, first=300, arguments={"max_steps": most})
        assert f"max_steps is {most}, and step 300 is done" in finding.message


def test_an_end_within_the_batch_is_an_error(plan: Planned) -> None:
    (finding,) = plan(None, first=300, arguments={"max_steps": 304})
    assert "With max_steps 304 only 4 of the 10 steps" in finding.message
    (finding,) = plan(None, first=15, arguments={"num_train_epochs": 2, "ignore_data_skip": True})
    assert "only 5 of the 10 steps" in finding.message


@pytest.mark.parametrize(
    ("done", "arguments"),
    [
        (0, {"num_train_epochs": 1}),
        (10, {"num_train_epochs": 2}),
        (10, {"num_train_epochs": 2, "ignore_data_skip": True}),
        (300, {"max_steps": 310}),
        (300, {"max_steps": 310, "num_train_epochs": 1}),
        (300, {"max_steps": 1000}),
        (300, {"num_train_epochs": 31}),
    ],
)
def test_a_cumulative_end_is_fine(plan: Planned, done: int, arguments: dict[str, int]) -> None:
    assert not plan(None, first=done, arguments=arguments)
    assert plan.outcome is not None
    assert plan.outcome.outcome.value == "pass"


def test_the_rest_of_a_batch_is_judged_by_max_steps_alone(plan: Planned) -> None:
    assert plan(None, first=305, example=50, steps=5, arguments={"max_steps": 305})
    assert not plan(None, first=305, example=50, steps=5, arguments={"num_train_epochs": 1})
    assert "a batch that was begun" in plan.reason


def test_what_is_not_known_is_not_judged(plan: Planned) -> None:
    assert not plan(None, first=10, arguments={"save_steps": 5})
    assert "neither max_steps nor num_train_epochs" in plan.reason
    assert not plan(None, first=10, arguments={"num_train_epochs": 0})
    assert "neither max_steps nor num_train_epochs" in plan.reason
    assert not plan(None, first=10, rows=None, arguments={"num_train_epochs": 1})
    assert "not known" in plan.reason
    assert not plan(None, first=10)
    assert "[arguments]" in plan.reason


def test_where_audit_train_sets_the_end_there_is_nothing_to_judge(plan: Planned) -> None:
    assert not plan(None, first=10, owned=True, arguments={"max_steps": 5})
    assert "audit train sets where each leg ends" in plan.reason
