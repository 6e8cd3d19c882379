"""Numbers, sizes, seconds and shares as arguments give them."""

import argparse
from collections.abc import Callable
from typing import Any

import pytest

from audit.cli.values import decimal, processes, seconds, share, size, steps, whole


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        ("1", 1),
        ("512", 512),
        ("500MB", 500 * 10**6),
        ("5gb", 5 * 10**9),
        ("5 GB", 5 * 10**9),
        ("5GiB", 5 << 30),
        ("1.5T", 1_500_000_000_000),
        ("2kib", 2048),
    ],
)
def test_a_size(text: str, bytes_: int) -> None:
    assert size(text) == bytes_


@pytest.mark.parametrize(
    ("value", "texts", "why"),
    [
        (
            size,
            ["", "0", "0.0GB", "-1", "5 apples", "5iB", "1e9", "٥GB", "5GBB", "inf"],
            "is not a size above 0, such as 5GB",
        ),
        (seconds, ["", "0", "-1", "nan", "inf", "1e8", "soon"], "is not a number of seconds above 0"),
        (processes, ["", "0", "-1", "1.5", "100000"], "is not a number of processes from 1 to 99999"),
        (steps, ["", "-1", "1.5", "٥", "9" * 30], "is not a number of steps"),
        (share, ["", "0", "0%", "101%", "2", "nan", "half"], "is not a share above 0 and up to 100%"),
        (whole("a number from 1 to 256", 1, 256), ["0", "257", "x"], "is not a number from 1 to 256"),
        (decimal("a number of days", 0, 1e6), ["-0.1", "nan", "x"], "is not a number of days"),
    ],
)
def test_what_is_none_is_said_with_the_text(value: Callable[[str], Any], texts: list[str], why: str) -> None:
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError, match=why) as caught:
            value(text)
        assert repr(text) in str(caught.value)


def test_numbers_that_are_in_bounds() -> None:
    assert [share("10%"), share("0.1"), share("100%")] == [0.1, 0.1, 1.0]
    assert [seconds("0.5"), steps("0"), whole("", 1, 256)("256"), decimal("", 0, 1)("1")] == [0.5, 0, 256, 1.0]
