"""Where two histories part."""

from typing import Any

import pytest

from audit_rules.history._forks import Parting, parting


@pytest.mark.parametrize(
    ("common", "differing", "key", "edited"),
    [
        (0, 1, ("loss", 1.0, 2.0), True),
        (0, 2, ("loss", 1.0, 2.0), True),
        (0, 2, None, False),  # the first entries differ in several values: nothing is the same
        (1, 2, None, True),
        (5, 3, ("loss", 1.0, 2.0), False),
        (5, 0, None, False),
    ],
)
def test_a_log_was_edited_if_one_or_two_entries_differ_and_the_rest_is_the_same(
    common: int, differing: int, key: tuple[str, Any, Any] | None, edited: bool
) -> None:
    assert Parting(common, differing, 10, key).edited is edited


def test_entries_are_the_same_in_any_order_of_their_keys_and_with_what_is_no_number() -> None:
    one, other = {"a": float("nan"), "b": float("nan"), "step": 1}, {"step": 1, "b": float("nan"), "a": float("nan")}

    assert parting([one], [other]) == Parting(1, 0, None, None)  # type: ignore[arg-type]


def test_the_one_value_that_differs_is_named_and_of_several_none() -> None:
    first, edited = {"step": 1, "loss": 2.0, "grad_norm": 1.0}, {"step": 1, "loss": 3.0, "grad_norm": 1.0}

    assert parting([first], [edited]).key == ("loss", 2.0, 3.0)  # type: ignore[arg-type]
    assert parting([first], [{**edited, "grad_norm": 2.0}]).key is None  # type: ignore[arg-type]
