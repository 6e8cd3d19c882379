"""Read JSON as Python's ``json`` writes it: the tokens NaN and Infinity are valid."""

import re
from json import JSONDecodeError, loads
from typing import Any

from audit.formats.damage import Damage, Kind
from audit.formats.intake import read_whole
from audit.storage import RangeReader

DEFAULT_LIMIT = 64 << 20
_DIGITS = 38
"""Of an integer: 128 bits. Tokenizers write 10 to the power of 30 for "no limit"; hundreds of digits overflow every float."""
_LONG = re.compile(rb"\d{%d}" % (_DIGITS + 1))


def read_json(reader: RangeReader, limit: int = DEFAULT_LIMIT) -> Any | Damage:
    """Return the document of a file of at most ``limit`` bytes."""
    data = read_whole(reader, limit)
    return data if isinstance(data, Damage) else parse_json(data)


def has_long_number(data: bytes) -> bool:
    """Whether there may be a number that only :func:`parse_json` recognises as too long; digits in text count, too."""
    return _LONG.search(data) is not None


def parse_json(data: bytes) -> Any | Damage:
    """Return the document in ``data``, which is UTF-8 text."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Damage(Kind.MALFORMED, f"is not UTF-8 text: byte {error.start} is not", error.start)
    if not data.strip(b"\0 \t\r\n"):
        return Damage(Kind.MALFORMED, "is not JSON: it has only blanks or zeros", 0)
    try:
        return loads(text, parse_int=_integer) if has_long_number(data) else loads(text)
    except _LongNumber:
        return Damage(Kind.OVERSIZED, f"is JSON with an integer of more than {_DIGITS} digits")
    except JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        if error.pos >= len(text.rstrip()):
            return Damage(Kind.MALFORMED, f"is truncated: its JSON ends at {where}", error.pos)
        return Damage(Kind.MALFORMED, f"is not JSON: {error.msg} at {where}", error.pos)
    except RecursionError:
        return Damage(Kind.OVERSIZED, "is JSON that is nested too deeply")


class _LongNumber(Exception):
    """An integer that no program writes."""


def _integer(digits: str) -> int:
    if len(digits.lstrip("-0")) > _DIGITS:
        raise _LongNumber
    return int(digits)
