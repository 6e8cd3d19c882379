from hypothesis import given
from hypothesis import strategies as st

from audit.facts.series import Point
from audit_html.thinning import Bucket, thin


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
