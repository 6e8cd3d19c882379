"""Read JSON as Python's ``json`` writes it: the tokens NaN and Infinity are valid."""

import os
import re
from json import JSONDecodeError, loads
from typing import Any

from audit.formats.damage import Damage, Kind
from audit.formats.intake import read_whole
from audit.storage import RangeReader

DEFAULT_LIMIT = 64 << 20
MOST_MEMORY = 48 << 20
"""Bytes of memory, about, of a document whose value a rule needs. The largest real one, the index of a model of 20 000
tensors in shards (2 MB), takes 5 MB."""

# Bytes that a list, an object, an item, a key (that repeats; that does not) and a string take in CPython 3.11, about.
_LIST, _OBJECT, _ITEM, _KEY, _VARIED_KEY, _STRING = 72, 232, 40, 24, 80, 50
_FEW_KEYS, _WINDOWS, _WINDOW = 1000, 64, 4096
_NAME = re.compile(rb'"([^"\\]{0,200})"\s*:')
_LARGE = 1 << 20
_PIECE = 1 << 20
_DIGITS = 38
"""Of an integer: 128 bits. Tokenizers write 10 to the 30th for "no limit"; hundreds of digits overflow a float."""
_LONG = b"0" * (_DIGITS + 1)
_TO_ZEROS = bytes(ord("0") if chr(code).isdecimal() and code < 128 else ord(" ") for code in range(256))


def read_json(reader: RangeReader, limit: int = DEFAULT_LIMIT) -> Any | Damage:
    """Return the document of a file of at most ``limit`` bytes."""
    data = read_whole(reader, limit)
    return data if isinstance(data, Damage) else parse_json(data)


def weight(data: bytes, at_most: bool = False) -> int:
    """Return about how many bytes of memory the parsed document takes, counted without parsing it.

    Punctuation inside text counts, too, so that a real file weighs too much rather than too little. ``at_most``: as if
    all keys differed from each other, which takes a small part of the time to find out.
    """
    count = data.count
    keys, strings = count(b":"), count(b'"') // 2
    heavy = _VARIED_KEY if keys > _FEW_KEYS and (at_most or _keys_vary(data)) else 0
    containers = _LIST * count(b"[") + _OBJECT * count(b"{")
    return containers + _ITEM * count(b",") + (_KEY + heavy) * keys + _STRING * max(0, strings - keys)


def _keys_vary(data: bytes) -> bool:
    """Whether the keys differ from each other: those of a log repeat, and a parser keeps each only once."""
    found: set[bytes] = set()
    for _ in range(_WINDOWS):
        at = int.from_bytes(os.urandom(6)) % len(data)
        found.update(_NAME.findall(data, at, at + _WINDOW))
    return len(found) > _FEW_KEYS


def check_json(data: bytes, most: int) -> Damage | None:
    """Return what is wrong with a document whose value nobody needs: ten times as fast as parsing, without memory."""
    from msgspec import DecodeError, Raw
    from msgspec.json import decode

    if not has_long_number(data):
        try:
            decode(data, type=Raw)
        except (DecodeError, RecursionError):
            pass  # broken, or what only Python's json takes: NaN, half a surrogate pair
        else:
            return _no_text(data)
    found = parse_json(data, most)
    return found if isinstance(found, Damage) else None


def _no_text(data: bytes) -> Damage | None:
    """Return the Damage of bytes that are not UTF-8."""
    from codecs import getincrementaldecoder

    decoder = getincrementaldecoder("utf-8")()
    for start in range(0, len(data), _PIECE):
        try:
            decoder.decode(data[start : start + _PIECE], start + _PIECE >= len(data))
        except UnicodeDecodeError as error:
            at = start + max(0, error.start)
            return Damage(Kind.MALFORMED, f"is not UTF-8 text: byte {at} is not", at)
    return None


def has_long_number(data: bytes) -> bool:
    """Whether there may be a number that only :func:`parse_json` recognises as too long; digits in text count, too."""
    return _LONG in data.translate(_TO_ZEROS)  # several times as fast as a regular expression


def parse_json(data: bytes, most: int = MOST_MEMORY) -> Any | Damage:
    """Return the document in ``data``, which is UTF-8 text, if it takes at most about ``most`` bytes of memory."""
    if weight(data) > most:
        return Damage(
            Kind.OVERSIZED, f"is JSON that would take more than {most >> 20} MB of memory, more than any real file"
        )
    if len(data) > _LARGE and not has_long_number(data):
        from msgspec import DecodeError
        from msgspec.json import decode

        try:  # straight from the bytes: one character beyond ASCII makes a text four times as large
            return decode(data)
        except (DecodeError, RecursionError):
            if len(data) > _PIECE * 32 and not data.isascii():
                return Damage(Kind.MALFORMED, "is not JSON")
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
