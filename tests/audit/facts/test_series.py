import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.facts.series import Bucket, Point, median, series, step_of, tail, thin
from audit.formats.history import History


def test_only_numbers_with_a_step_are_in_a_series() -> None:
    entries: list[dict[str, object]] = [
        {"loss": 2, "step": 1},
        {"loss": "1.5", "step": 2},
        {"loss": True, "step": 3},
        {"eval_loss": 1.0, "step": 4},
        {"loss": 1.5},
        {"loss": 1.25, "step": 5},
    ]

    assert series(entries, "loss") == [Point(1, 2.0), Point(5, 1.25)]


def test_an_integer_beyond_any_float_is_infinite() -> None:
    assert series([{"loss": 10**400, "step": 1}], "loss") == [Point(1, float("inf"))]


@pytest.mark.parametrize(("step", "expected"), [(7, 7), (-1, None), (True, None), ("7", None), (None, None)])
def test_a_step_is_a_non_negative_integer(step: object, expected: int | None) -> None:
    assert step_of({"step": step}) == expected


def test_the_tail_reaches_into_earlier_histories() -> None:
    def entries(*steps: int) -> list[dict[str, float]]:
        return [{"loss": float(step), "step": step} for step in steps]

    history = History([{"eval_loss": 1.0, "step": 5}, *entries(6)], History(entries(4, 5), History(entries(1, 2, 3))))

    assert [point.step for point in tail(history, "loss", 4)] == [3, 4, 5, 6]
    assert [point.step for point in tail(history, "loss", 9)] == [1, 2, 3, 4, 5, 6]


def test_the_median_of_an_even_count_lies_between() -> None:
    assert median([4.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5


def test_a_short_series_is_not_thinned() -> None:
    assert thin([Point(1, 2.0), Point(3, 1.0)], 2) == [
        Bucket(1, 2.0, 2.0, 2.0, None, 0),
        Bucket(3, 1.0, 1.0, 1.0, None, 0),
    ]


@given(st.lists(st.floats() | st.just(float("nan")), min_size=1, max_size=200), st.integers(1, 50))
def test_thinning_loses_neither_a_spike_nor_what_is_no_number(values: list[float], most: int) -> None:
    buckets = thin([Point(step, value) for step, value in enumerate(values)], most, largest=1e100)
    finite = [value for value in values if abs(value) <= 1e100]

    assert len(buckets) <= most
    assert [bucket.step for bucket in buckets] == sorted({bucket.step for bucket in buckets})
    assert max((b.high for b in buckets if b.high is not None), default=None) == max(finite, default=None)
    assert min((b.low for b in buckets if b.low is not None), default=None) == min(finite, default=None)
    assert sum(bucket.odds for bucket in buckets) == len(values) - len(finite)
    assert all((bucket.odd is None) == (bucket.odds == 0) for bucket in buckets)
