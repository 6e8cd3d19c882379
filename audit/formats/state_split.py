"""Split a trainer state at its log history, which is nearly all of a large one.

A run with 200 checkpoints has its history 200 times. Trainer writes with an indent of 2 and sorted keys, so the raw
bytes of an earlier history are the beginning of a later one: a digest shows that, and only the rest is parsed. The
layout alone proves nothing; if anything does not fit, the caller parses the whole file.
"""

import json
import os
from typing import Any, NamedTuple

from audit.formats.history import Entry, History, RawHistory
from audit.formats.known_histories import HEAD, KnownHistories

_OPEN = b'\n  "log_history": ['
_CLOSE = b"\n  ]"
_LARGE = 1 << 20
_BLANK = 256  # bytes: what may be between the last entry and the bracket


class Parts(NamedTuple):
    """A split state: the document without its history, and the entries after those of ``base``."""

    document: dict[str, Any]
    entries: list[Entry]
    base: History | None
    raw: RawHistory


def split(data: bytes, known: KnownHistories) -> Parts | None:
    """Return the parts, None if the file is not laid out as Trainer writes it."""
    marker = data.find(_OPEN)
    if marker < 0:
        return None
    start = marker + len(_OPEN)
    view = memoryview(data)
    base, taken, hasher = _longest(view, start, known)
    end = data.find(_CLOSE, start + taken)
    if end < 0:
        return None
    hasher.update(view[start + taken : end])
    document = _frame(data[: start - 1], data[end + len(_CLOSE) :])
    if document is None:
        return None
    entries = _entries(view[start + taken : end], base is not None)
    if entries is None:
        return None
    head = data[start : min(end, start + HEAD)]
    if base is not None and base.raw is not None and base.raw.head == head:
        head = base.raw.head  # nearly always: kept once
    return Parts(document, entries, base, RawHistory(end - start, hasher.digest(), head))


def _longest(view: memoryview, start: int, known: KnownHistories) -> tuple[History | None, int, Any]:
    """Return the longest known history that the bytes begin with, its length, and a hasher that has seen it."""
    from blake3 import blake3

    hasher = blake3()
    best, taken, best_hasher = None, 0, blake3()
    position = 0
    found = known.beginning(bytes(view[start : start + HEAD]))
    candidates = [(history.raw.length, history) for history in found if history.raw is not None]
    for length, history in sorted(candidates, key=lambda item: item[0]):
        if start + length > len(view):
            break
        hasher.update(view[start + position : start + length])
        position = length
        assert history.raw is not None
        if length > taken and hasher.digest() == history.raw.digest:
            best, taken, best_hasher = history, length, hasher.copy()
    return best, taken, best_hasher


def _frame(head: bytes, tail: bytes) -> dict[str, Any] | None:
    """Parse everything around the history; None unless the history was the value of the top-level key."""
    token = os.urandom(16).hex()
    try:
        document = json.loads(b"".join((head, b'"', token.encode(), b'"', tail)))
    except (ValueError, RecursionError):
        return None
    if type(document) is not dict or document.get("log_history") != token:
        return None
    del document["log_history"]
    return document


def _entries(raw: memoryview, extends: bool) -> list[Entry] | None:
    if extends:
        if len(raw) < _BLANK and not bytes(raw).strip():
            return []
        if bytes(raw[:1]) != b",":
            return None
        raw = raw[1:]
    text = b"".join((b"[", raw, b"]"))
    entries = None
    if len(text) > _LARGE:
        entries = _fast(text)
    if entries is None:
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError):
            return None
    if type(entries) is not list or not all(type(entry) is dict for entry in entries) or (extends and not entries):
        return None
    return entries


def _fast(text: bytes) -> Any:
    """Parse with msgspec; None if it is not installed, or for NaN, which only ``json`` reads."""
    try:
        from msgspec import DecodeError
        from msgspec.json import decode
    except ImportError:
        return None
    try:
        return decode(text)
    except (DecodeError, RecursionError, UnicodeDecodeError):
        return None
