"""Exactly the same, or within tolerances: what counts as a difference."""

from math import inf, nan

import pytest

from audit.backend.rehearsal import Arrival, Compared, Rehearsal, Replayed
from audit.rehearsal.causes import DATA, Difference
from audit.rehearsal.comparison import TOLERANCES, Judgement, judge, relative
from audit.rehearsal.expected import Logged

GOOD = (Compared("weights", 4), Compared("optimizer state", 8))
RATE = 1e-3


def rehearsal(*steps: Replayed, dtype: str = "float32", restored: tuple[Compared, ...] = GOOD) -> Rehearsal:
    return Rehearsal(restored, steps, dtype=dtype)


def judged(found: Replayed, told: Logged, *, exact: bool = True, dtype: str = "float32") -> Judgement:
    return judge(rehearsal(found, dtype=dtype), [told], 5, exact)


def test_equal_values_are_the_same() -> None:
    found = judged(Replayed(6, 1.5, 0.5, RATE, (3, 4)), Logged(6, 1.5, 0.5, RATE, True, (3, 4)))
    assert (found.same, found.bit_for_bit, found.differences) == (True, True, ())
    assert found.judged == ("examples", "learning rate", "loss", "gradient norm")


@pytest.mark.parametrize(
    ("field", "value"), [("loss", 1.5000001), ("grad_norm", 0.50000001), ("learning_rate", 0.00100001)]
)
def test_the_smallest_difference_counts_where_equal_is_asked_for(field: str, value: float) -> None:
    told = Logged(6, 1.5, 0.5, RATE)
    values = {"loss": 1.5, "grad_norm": 0.5, "learning_rate": RATE, field: value}
    found = judged(Replayed(6, values["loss"], values["grad_norm"], values["learning_rate"]), told)
    assert not found.same
    assert [item.step for item in found.differences] == [6]


@pytest.mark.parametrize("dtype", list(TOLERANCES))
@pytest.mark.parametrize(("field", "quantity"), [("loss", "loss"), ("grad_norm", "gradient norm")])
def test_elsewhere_a_difference_counts_from_its_tolerance_on(dtype: str, field: str, quantity: str) -> None:
    told, limit = Logged(6, 2.0, 2.0, RATE), TOLERANCES[dtype][quantity]

    def at(share: float) -> Judgement:
        off = 2.0 * (1 + limit * share)
        loss, norm = (off, 2.0) if field == "loss" else (2.0, off)
        return judged(Replayed(6, loss, norm, RATE), told, exact=False, dtype=dtype)

    inside, outside = at(0.9), at(1.1)
    assert (inside.same, outside.same) == (True, False)
    assert inside.largest == {quantity: pytest.approx(limit * 0.9)}
    assert not inside.bit_for_bit


def test_the_rate_has_no_tolerance() -> None:
    assert not judged(Replayed(6, 1.0, 1.0, RATE * (1 + 1e-9)), Logged(6, 1.0, 1.0, RATE), exact=False).same


def test_other_examples_are_a_difference_in_any_order() -> None:
    found = judged(Replayed(6, 1.0, 1.0, RATE, (4, 3)), Logged(6, 1.0, 1.0, RATE, True, (3, 4)), exact=False)
    assert [(item.quantity, item.expected, item.found) for item in found.differences] == [("examples", "3, 4", "4, 3")]


def test_a_mean_that_began_before_the_checkpoint_is_not_compared() -> None:
    found = judged(Replayed(6, 9.0, 0.5, RATE), Logged(6, 1.5, 0.5, RATE, whole=False))
    assert found.same
    assert "loss" not in found.judged


def test_nan_is_what_was_logged_as_nan_and_nothing_else() -> None:
    assert judged(Replayed(6, nan, 0.5, RATE), Logged(6, nan, 0.5, RATE)).same
    assert not judged(Replayed(6, nan, 0.5, RATE), Logged(6, 1.0, 0.5, RATE), exact=False).same


def test_a_value_that_is_not_there_any_more_is_a_difference() -> None:
    assert not judged(Replayed(6, None, 0.5, RATE), Logged(6, 1.0, 0.5, RATE)).same


def test_a_step_that_was_not_logged_is_not_judged() -> None:
    found = judge(rehearsal(Replayed(6, 1.0), Replayed(7, 1.0)), [Logged(7, 1.0)], 5, True)
    assert found.same
    assert found.judged == ("loss",)


@pytest.mark.parametrize("steps", [(), (Replayed(6, 1.0),)])
def test_a_training_that_ends_before_what_was_logged_differs(steps: tuple[Replayed, ...]) -> None:
    found = judge(rehearsal(*steps), [Logged(6, 1.0), Logged(8, 1.0)], 5, False)
    (difference,) = found.differences
    assert (difference.step, difference.quantity) == (6 + len(steps), "training")
    assert difference.found == f"ended after step {5 + len(steps)}"
    assert "max_steps" in (found.cause or "")
    assert found.steps == len(steps)


def test_steps_are_counted_up_to_the_last_one_that_was_compared() -> None:
    steps = [Replayed(number, 1.0) for number in (6, 7, 8, 9)]
    found = judge(rehearsal(*steps), [Logged(6, 1.0), Logged(8, 1.0)], 5, True)
    assert (found.same, found.steps) == (True, 3)


def test_what_was_not_restored_counts_with_any_tolerance() -> None:
    restored = (Compared("weights", 4, 1, "lm_head", 1e-9),)
    found = judge(rehearsal(restored=restored), [], 5, False)
    assert [(item.step, item.quantity, item.found) for item in found.differences] == [
        (None, "weights", "1 of 4 values differ, the first is lm_head")
    ]


def test_a_part_that_was_not_compared_is_no_difference() -> None:
    assert judge(rehearsal(restored=(Compared("weights", missed="sharded"),)), [], 5, True).same


def test_the_state_at_a_later_checkpoint_counts_only_where_equal_is_asked_for() -> None:
    found = rehearsal()._replace(arrivals=(Arrival(10, (Compared("weights", 4, 2, "a", 1e-7),)),))
    assert [(item.step, item.quantity) for item in judge(found, [], 5, True).differences] == [(10, "weights")]
    assert judge(found, [], 5, False).same


def test_what_was_found_before_comes_first() -> None:
    before = Difference(None, DATA, "one", "another", None)
    found = judge(rehearsal(Replayed(6, 2.0)), [Logged(6, 1.0)], 5, True, [before])
    assert found.differences[0] is before


@pytest.mark.parametrize(
    ("expected", "found", "gap"), [(2.0, 1.0, 0.5), (0.0, 1.0, inf), (inf, 1.0, inf), (-2.0, -1.0, 0.5)]
)
def test_differences_are_relative_to_what_was_logged(expected: float, found: float, gap: float) -> None:
    assert relative(expected, found) == gap
