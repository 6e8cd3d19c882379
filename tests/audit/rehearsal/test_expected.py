"""What a log says of the steps after a checkpoint, and how many of them are worth training again."""

from typing import Any

import pytest

from audit.rehearsal.expected import Logged, logged_after, steps_to_train


def log(*steps: int, **more: Any) -> list[dict[str, Any]]:
    return [{"step": step, "loss": step / 10, "grad_norm": 1.0, "learning_rate": 1e-3, **more} for step in steps]


def test_only_steps_after_the_checkpoint_count() -> None:
    assert [item.step for item in logged_after(log(4, 5, 6, 7), 5)] == [6, 7]


def test_all_that_is_logged_of_a_step_is_there() -> None:
    assert logged_after(log(6), 5) == [Logged(6, 0.6, 1.0, 1e-3, whole=False)]


def test_a_mean_counts_only_if_it_begins_at_the_checkpoint_or_later() -> None:
    assert [item.whole for item in logged_after(log(10, 20, 30), 15)] == [False, True]
    assert [item.whole for item in logged_after(log(10, 20, 30), 10)] == [True, True]


def test_a_leg_that_began_at_the_checkpoint_began_its_mean_there() -> None:
    assert [item.whole for item in logged_after(log(10, 20), 15, frozenset({15}))] == [True]
    assert [item.whole for item in logged_after(log(10, 20), 14, frozenset({15}))] == [True]
    assert [item.whole for item in logged_after(log(10, 20), 15, frozenset({14}))] == [False]


def test_a_step_that_was_logged_twice_counts_as_the_last_one() -> None:
    entries = [*log(5, 6), {"step": 6, "loss": 9.0}]
    assert [(item.step, item.loss) for item in logged_after(entries, 5)] == [(6, 9.0)]


@pytest.mark.parametrize("odd", [{"step": True}, {"step": "7"}, {"loss": None}, {"loss": True}, {"loss": "NaN"}])
def test_an_entry_of_another_shape_is_passed_over(odd: dict[str, Any]) -> None:
    assert logged_after([{**log(7)[0], **odd}], 5) == []


def test_an_evaluation_is_no_step() -> None:
    assert logged_after([{"step": 6, "eval_loss": 1.0}], 5) == []


@pytest.mark.parametrize(
    ("steps", "wanted", "most", "trained"),
    [
        ((6, 7, 8, 9, 10, 11), 5, 100, 5),
        ((6, 7), 5, 100, 2),
        ((6, 7, 8), 5, 2, 2),
        ((15, 25), 5, 100, 10),
        ((15, 25), 20, 100, 20),
        ((), 5, 100, 0),
        ((15,), 5, 8, 0),
    ],
)
def test_as_many_steps_as_wanted_and_at_least_one_whole_mean(
    steps: tuple[int, ...], wanted: int, most: int, trained: int
) -> None:
    assert steps_to_train(logged_after(log(*steps), 5, frozenset({5})), 5, wanted, most) == trained


def test_nothing_is_trained_if_nothing_is_asked_for() -> None:
    assert steps_to_train(logged_after(log(6, 7), 5), 5, 0, 100) == 0
