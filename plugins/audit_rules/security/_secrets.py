"""Where credentials may be in a checkpoint; what they look like is in :mod:`audit.text`."""

from collections.abc import Iterator
from typing import Any


def texts(value: Any, depth: int = 6) -> Iterator[str]:
    """Return all texts inside plain values (dictionaries and lists)."""
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, dict):
        for item in value.values():
            yield from texts(item, depth - 1)
    elif depth and isinstance(value, list | tuple):
        for item in value:
            yield from texts(item, depth - 1)
