"""What checkpoints have in common is kept once."""

from typing import Any

import pytest

from audit.facts.shared import Shared


def test_the_last_value_of_a_kind_stands_for_an_equal_one() -> None:
    shared = Shared()
    first = shared.once("arguments", {"seed": 1})

    assert shared.once("arguments", {"seed": 1}) is first
    assert shared.once("layout", {"seed": 1}) is not first
    assert shared.once("arguments", {"seed": 2}) == {"seed": 2}
    assert shared.has("arguments", {"seed": 2})
    assert not shared.has("arguments", {"seed": 1})


@pytest.mark.parametrize(("first", "second"), [(1, True), (1, 1.0), (0.0, -0.0), ([1], [True])])
def test_what_is_equal_but_of_another_type_is_not_the_same(first: Any, second: Any) -> None:
    shared = Shared()
    shared.once("value", first)

    assert repr(shared.once("value", second)) == repr(second)


def test_a_document_is_copied_with_its_keys_and_nested_values_once() -> None:
    shared = Shared()
    first = shared.document("state", {"step": 1, "callbacks": {"args": [1]}, "best": None})
    second = shared.document("state", {"step": 2, "callbacks": {"args": [1]}, "best": None})

    assert second == {"step": 2, "callbacks": {"args": [1]}, "best": None}
    assert second["callbacks"] is first["callbacks"]
    assert [a is b for a, b in zip(first, second, strict=True)] == [True, True, True]
