"""Values of an audited file become plain ones, whatever they are."""

import json
from typing import Any

import pytest

from audit.formats.pickle_values import Call, Global
from audit.text import brief, plain

HUGE = 10**5000
"""More digits than Python prints."""


CASES: list[tuple[Any, Any]] = [
    (None, None), (True, True), (3, 3), (0.5, 0.5), ("text", "text"),
    (float("nan"), "nan"), (float("-inf"), "-inf"), (HUGE, "an integer of 16610 bits"),
    (b"12345", "5 bytes"), ((1, [2.5]), [1, [2.5]]), ({1: {None: float("inf")}}, {"1": {"None": "inf"}}),
    ({HUGE: 1}, {"an integer of 16610 bits": 1}), (Call("a.b", ()), "<Call a.b>"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CASES)))
def test_every_value_has_a_plain_one(number: int) -> None:
    value, expected = CASES[number]
    assert plain(value) == expected
    assert type(plain(value)) is type(expected)
    json.dumps(plain(value), allow_nan=False)


def test_depth_and_length_are_bounded() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    deep.append(deep)
    assert len(json.dumps(plain(deep[0]))) < 200
    assert plain("x" * 20_000).endswith("... (20000 characters)")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "-"), (True, "yes"), (False, "no"), (1 / 3, "0.333333"), (12345678, "12345678"),
        (["a", "b"], "a b"), ([["a"], "b"], "[['a'], 'b']"), ([], "[]"), ("x" * 100, "x" * 57 + "..."),
        (Global("a.b"), "['a.b']"),
    ],
)  # fmt: skip
def test_a_brief_value_fits_on_a_line(value: Any, expected: str) -> None:
    assert brief(value) == expected


def test_a_list_without_end_is_brief() -> None:
    assert len(brief(["word"] * 10**6)) == 60
