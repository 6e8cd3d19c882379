import pytest

from audit_rules._entries import step_of


@pytest.mark.parametrize(("step", "expected"), [(7, 7), (0, 0), (-1, None), (True, None), ("7", None), (None, None)])
def test_a_step_is_a_non_negative_integer(step: object, expected: int | None) -> None:
    assert step_of({"step": step}) == expected
