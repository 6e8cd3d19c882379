import pytest

from audit_rules.loss._windows import falls, median, rises, spread


def test_the_median_of_an_even_count_lies_between() -> None:
    assert median([4.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5


def test_the_spread_is_that_of_a_normal_distribution_and_never_nothing() -> None:
    assert spread([5.0, 1.0, 2.0, 3.0, 4.0]) == pytest.approx(1.4826)
    assert spread([1.0, 2.0, 3.0, 4.0, 500.0]) == pytest.approx(1.4826)  # one outlier does not matter
    assert spread([5.0, 5.0]) == 0.001


def test_a_rise_is_of_all_values_and_by_more_than_the_share() -> None:
    assert rises([1.0, 1.0], [2.0, 2.0], 0.5)
    assert not rises([1.0, 1.0], [2.0, 2.0], 1.0)
    assert not rises([1.0, 2.0], [2.0, 9.0], 0.1)
    assert falls([2.0, 2.0], [0.5, 0.5], 0.5)
    assert not falls([2.0, 2.0], [1.0, 1.0], 0.5)
    assert not falls([2.0, 1.0], [1.0, 0.1], 0.1)
