"""Values in JSON of any shape, as the ledger of an untrusted run may have it: the value, or None."""

import os
from collections.abc import Mapping
from math import isfinite
from typing import Any

Content = Mapping[str, Any]
"""The content of a row of the ledger."""

Written = tuple[str, dict[str, Any]]
"""The kind of a row, and its content."""


def as_losses(value: Any) -> tuple[tuple[int, float], ...]:
    """Return [step, loss] pairs in the order of their steps; losses that are not finite numbers are left out."""
    if not isinstance(value, list):
        return ()
    pairs = [item for item in value if isinstance(item, list) and len(item) == 2]
    found = [
        (item[0], number)
        for item in pairs
        if as_whole(item[0]) is not None and (number := as_number(item[1])) is not None
    ]
    return tuple(sorted(found, key=lambda pair: pair[0]))


def as_number(value: Any) -> float | None:
    """Return a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON has integers of any length
        return None
    return number if isfinite(number) else None


def as_text(value: Any) -> str | None:
    """Return text."""
    return value if isinstance(value, str) else None


def as_texts(value: Any) -> dict[str, str] | None:
    """Return texts by name; values of other types are left out."""
    if not isinstance(value, dict):
        return None
    return {name: text for name, text in value.items() if isinstance(text, str)} or None


def as_numbers(value: Any) -> dict[str, float] | None:
    """Return finite numbers by name; other values are left out, None if there is none."""
    if not isinstance(value, dict):
        return None
    return {name: number for name, item in value.items() if (number := as_number(item)) is not None} or None


def as_file_name(value: Any) -> str:
    """Return a file's name without any directory, empty if it is none, so that no path made of it leads elsewhere."""
    name = (as_text(value) or "").replace("\0", "").rpartition("/")[2]
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return ""
    return "" if name in (".", "..") else name


def as_integer(value: Any) -> int | None:
    """Return an integer of any size."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_step(value: Any) -> int | None:
    """Return an integer of at least 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def as_whole(value: Any) -> int | None:
    """Return an integer of at least 0 that a float can hold exactly."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None
