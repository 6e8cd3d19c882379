import json
from math import isnan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.formats.damage import Damage, Kind
from audit.formats.json_text import read_json
from audit.storage import BytesReader

documents = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=10,
)


def read(data: bytes, limit: int = 1 << 20) -> object:
    return read_json(BytesReader(data), limit)


@given(documents)
@settings(deadline=None)
def test_what_was_written_is_read(document: Any) -> None:
    assert read(json.dumps(document, indent=2).encode()) == document


@given(st.binary(max_size=100))
@settings(deadline=None)
def test_random_bytes_never_raise(raw: Any) -> None:
    read(raw)
    read(b'{"a": [' + raw)


def test_the_bare_words_of_python_are_numbers() -> None:
    value = read(b"[NaN, Infinity, -Infinity]")
    assert isinstance(value, list)
    assert isnan(value[0])
    assert value[1:] == [float("inf"), float("-inf")]


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"", Kind.EMPTY, "is empty"),
        (b"\0" * 50, Kind.MALFORMED, "only blanks or zeros"),
        (b'{"a": 1,\n "b": ', Kind.MALFORMED, "is truncated: its JSON ends at line 2, column 7"),
        (b'{"a": 1,\n b: 2}', Kind.MALFORMED, "at line 2, column 2"),
        (b"{} {}", Kind.MALFORMED, "Extra data"),
        (b'"\xff"', Kind.MALFORMED, "not UTF-8"),
        (b"[" * 200_000, Kind.OVERSIZED, "nested"),
        (b"9" * 5000, Kind.OVERSIZED, "more than 38 digits"),
        (b"[-" + b"9" * 39 + b"]", Kind.OVERSIZED, "more than 38 digits"),
        (b"[" + b" " * (1 << 20) + b"]", Kind.OVERSIZED, "more than the limit of"),
        (b"version https://git-lfs.github.com/spec/v1\n", Kind.PLACEHOLDER, "git-lfs"),
    ],
)
def test_each_damage_says_what_it_is(data: Any, kind: Any, words: Any) -> None:
    found = read(data)
    assert isinstance(found, Damage)
    assert found.kind is kind
    assert words in found.message
