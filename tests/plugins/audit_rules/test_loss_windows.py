from audit_rules.loss._windows import median


def test_the_median_of_an_even_count_lies_between() -> None:
    assert median([4.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5
