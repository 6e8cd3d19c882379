"""Which steps of a leg are saved."""

from typing import Any

import pytest

from audit.backend.training import LegData, LegRequest
from audit.facts.plan import Saves, saves_of


def saves(
    first: int, last: int | None, arguments: dict[str, Any], every: Any = None, horizon: int | None = None
) -> Saves:
    request = LegRequest("run", None, first, last, LegData("data"))
    return saves_of(arguments, every, request, horizon)


@pytest.mark.parametrize(
    ("first", "last", "arguments", "number"),
    [
        (0, 450, {"save_steps": 50}, 9),
        (0, 449, {"save_steps": 50}, 9),  # the last one is that of the leg's end
        (450, 638, {"save_steps": 50}, 4),
        (0, 10, {"save_steps": 50}, 1),
        (0, 1000, {"learning_rate": 1}, 2),  # Trainer's 500
        (0, 10, {}, 1),
        (0, 10, {"save_strategy": "no"}, 1),
        (0, 10, {"save_strategy": "epoch", "save_steps": 2}, 1),
        (7, 7, {"save_steps": 5}, 0),
    ],
)
def test_what_a_leg_saves(first: int, last: int, arguments: dict[str, Any], number: int) -> None:
    found = saves(first, last, arguments)

    assert found.number == number
    assert found.certain


def test_the_save_steps_of_the_checkpoint_win() -> None:
    assert saves(0, 100, {"save_steps": 10}, every=25).number == 4


def test_a_share_is_of_all_steps() -> None:
    assert saves(0, 100, {"save_steps": 0.1}, horizon=200).every == 20
    assert saves(0, 100, {"save_steps": 0.1}).number == 1


def test_the_best_ones_are_at_most_as_many_as_evaluations() -> None:
    found = saves(0, 100, {"save_strategy": "best", "eval_steps": 20})

    assert (found.number, found.certain) == (5, False)


def test_the_saves_of_a_leg_of_unknown_length_are_not_known() -> None:
    assert saves(0, None, {"save_steps": 10}).number is None
