"""Facts are computed once, and "not there" is remembered like a value."""

import pytest

from audit.errors import NotApplicable
from audit.facts.fact import Facts, fact


class Example(Facts):
    def __init__(self) -> None:
        self.calls: list[str] = []

    @fact
    def there(self) -> int:
        self.calls.append("there")
        return 7

    @fact
    def missing(self) -> int:
        self.calls.append("missing")
        raise NotApplicable("no such file")


def test_a_fact_is_computed_once() -> None:
    example = Example()

    assert (example.there, example.there) == (7, 7)
    assert example.calls == ["there"]


def test_a_missing_fact_says_why_every_time_but_looks_only_once() -> None:
    example = Example()

    for _ in range(3):
        with pytest.raises(NotApplicable, match="no such file"):
            _ = example.missing
    assert example.calls == ["missing"]


def test_optional_gives_none_for_a_missing_fact() -> None:
    example = Example()

    assert example.optional("missing") is None
    assert example.optional("there") == 7
