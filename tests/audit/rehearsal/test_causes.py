"""The pattern of what differs first names the likely cause."""

import pytest

from audit.rehearsal.causes import BASE, Difference, likely_cause


def cause(*found: tuple[int | None, str], draws: bool | None = True) -> str:
    return likely_cause([Difference(step, quantity, "", "", None) for step, quantity in found], 10, draws)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([(None, BASE), (11, "loss")], "the base model is not the one"),
        ([(None, "weights")], "the weights of the checkpoint were not loaded"),
        ([(None, "optimizer state")], "the optimizer's state was not loaded"),
        ([(None, "schedule")], "the schedule was not loaded"),
        ([(None, "random states")], "the random states were not loaded"),
        ([(11, "examples"), (11, "loss")], "the data"),
        ([(11, "learning rate"), (12, "loss")], "the schedule"),
        ([(13, "learning rate"), (13, "loss")], "the schedule"),
        ([(11, "loss"), (11, "gradient norm")], "what the first loss is computed from"),
        ([(11, "gradient norm")], "the gradient, with the same loss"),
        ([(12, "loss"), (12, "gradient norm")], "the first update"),
        ([(12, "gradient norm")], "the first update"),
        ([(14, "gradient norm")], "a small difference that grew"),
        ([(15, "weights")], "the state at the end of these steps"),
    ],
)
def test_each_pattern_has_its_cause(found: list[tuple[int | None, str]], says: str) -> None:
    assert cause(*found).startswith(says)


def test_the_random_state_is_suspected_only_where_a_step_draws_from_it() -> None:
    assert "random state" in cause((11, "loss"), draws=True)
    assert "random state" not in cause((11, "loss"), draws=False)


@pytest.mark.parametrize(
    ("found", "part", "named"),
    [
        ((11, "learning rate"), "schedule", True),
        ((11, "learning rate"), "optimizer state", True),
        ((11, "loss"), "random states", True),
        ((12, "loss"), "optimizer state", True),
        ((12, "loss"), "random states", False),
        ((None, "schedule"), "optimizer state", True),
        ((None, "optimizer state"), "schedule", True),
        ((None, "weights"), "schedule", False),
        ((11, "loss"), "weights", False),
    ],
)
def test_what_was_not_there_is_named_where_it_explains_the_pattern(
    found: tuple[int | None, str], part: str, named: bool
) -> None:
    differences = [Difference(*found, "", "", None)]
    text = likely_cause(differences, 10, True, {part: "there is no such file"})
    assert text.startswith("there is no such file") is named
