"""How values are written for people and for JSON: sizes, times, the nearest names, values of an audited file."""

import time
from collections.abc import Iterable
from typing import Any

_DEPTH = 20
_TEXT = 10_000


def plain(value: Any, depth: int = 0) -> Any:
    """Return a copy for output: NaN and infinities as text, other objects as their text, what is nested too deep left out."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= 1024 else f"an integer of {value.bit_length()} bits"
    if isinstance(value, float):
        return value if float("-inf") < value < float("inf") else str(value)
    if isinstance(value, str):
        return value if len(value) <= _TEXT else f"{value[:_TEXT]}... ({len(value)} characters)"
    if isinstance(value, dict | list | tuple):
        if depth >= _DEPTH:
            return "..."
        if isinstance(value, dict):
            return {key_text(key): plain(item, depth + 1) for key, item in value.items()}
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return str(value)[:_TEXT]


def key_text(key: Any) -> str:
    """Return the key of a dictionary as text."""
    return key[:_TEXT] if isinstance(key, str) else str(plain(key))


def brief(value: Any, width: int = 60) -> str:
    """Return a value in few characters, for one line on a terminal: numbers with six digits, lists without brackets."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and value and not any(isinstance(item, list | dict) for item in value):
        value = " ".join(brief(item, width) for item in value[: width + 1])
    text = str(plain(value))
    return text if len(text) <= width else f"{text[: width - 3]}..."


def human_bytes(count: int) -> str:
    """Return a size in decimal units, as ``ls --si`` does: 999 B, 1.2 MB."""
    if count < 1000:
        return f"{count} B"
    size = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.95:  # what would be rounded to 1000.0 is 1.0 of the next unit
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} PB"


def utc_time(seconds: float | None = None, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    """Return a Unix time, by default now, in UTC: ``2026-11-21T12:30:00Z`` (ISO 8601), or as ``form`` asks."""
    return time.strftime(form, time.gmtime(seconds))


def local_date() -> str:
    """Return today's date where the user is: ``2026-11-21``."""
    return time.strftime("%Y-%m-%d")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?``, or an empty string if no known name is close."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(item) for item in close)}?" if close else ""
