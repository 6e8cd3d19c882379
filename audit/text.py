"""Values of an audited file as plain ones that JSON has words for, of bounded depth and length."""

from typing import Any

_DEPTH = 20
_TEXT = 10_000


def plain(value: Any, depth: int = 0) -> Any:
    """Return a copy for output: NaN and infinities as text, other objects as their text, what lies too deep left out."""
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
