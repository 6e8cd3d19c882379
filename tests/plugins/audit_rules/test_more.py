import pytest

from audit_rules._more import and_more


@pytest.mark.parametrize(
    ("found", "shown", "expected"),
    [("", 1, ""), ("a", 1, ""), ("ab", 1, " and 1 more"), ("abcd", 4, ""), ("abcdef", 4, " and 2 more")],
)
def test_what_is_not_shown_is_counted(found: str, shown: int, expected: str) -> None:
    assert and_more(found, " and {} more", shown) == expected
