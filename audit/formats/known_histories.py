"""The histories that a trainer state may continue, found by how they begin.

One by one they would be compared with every state: of 20 000 histories that have nothing in common that is the square.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from math import isnan
from typing import Any

from audit.formats.history import Entry, History

HEAD = 256
"""Bytes at the beginning of a raw history: the first entry, and mostly more."""

FIRST = "first entry"
_PLAIN = (int, float, bool, str)


class KnownHistories:
    """Histories, the last one that was added first."""

    def __init__(self, histories: Iterable[History] = ()) -> None:
        self._all: dict[int, History] = {}
        self._by_head: dict[bytes, dict[int, History]] = {}
        self._short: Counter[int] = Counter()
        self._by_first: dict[Any, dict[int, History]] = {}
        for history in reversed(list(histories)):
            self.add(history)

    def add(self, history: History) -> None:
        """Add one that is not among them."""
        self._all[id(history)] = history
        if history.raw is not None and len(history):
            self._by_head.setdefault(history.raw.head, {})[id(history)] = history
            self._short[len(history.raw.head)] += 1
        self._by_first.setdefault(_first(history), {})[id(history)] = history

    def remove(self, history: History | None) -> None:
        """Remove one if it is among them."""
        if history is None or self._all.pop(id(history), None) is None:
            return
        if history.raw is not None and len(history):
            self._by_head[history.raw.head].pop(id(history))
            self._short[len(history.raw.head)] -= 1
        self._by_first[_first(history)].pop(id(history))

    def __contains__(self, history: object) -> bool:
        return id(history) in self._all

    def __iter__(self) -> Iterator[History]:
        return reversed(self._all.values())

    def beginning(self, raw: bytes) -> list[History]:
        """Those whose bytes may be the beginning of a raw history; ``raw`` is its first HEAD bytes."""
        sizes = [size for size, count in self._short.items() if count and size <= len(raw)]
        return [history for size in sizes for history in reversed(self._by_head.get(raw[:size], {}).values())]

    def sharing(self, entries: list[Entry]) -> list[History]:
        """Those that may have entries in common with a log that begins with ``entries``; none of them is empty."""
        return list(reversed(self._by_first.get(_key(entries[0]), {}).values())) if entries else []

    def relatives(self, history: History) -> list[History]:
        """Those that may have entries in common with a history that is not empty."""
        return list(reversed(self._by_first.get(_first(history), {}).values()))

    @property
    def empty(self) -> History | None:
        """The last one without an entry."""
        return next(reversed(self._by_first.get(None, {}).values()), None)


def _first(history: History) -> Any:
    """The key of its first entry, None if it is empty. Kept with it: the chain of bases may be long."""
    link = history
    while FIRST not in link.kept and link.base is not None and len(link.base):
        link = link.base
    if FIRST not in link.kept:
        link.kept[FIRST] = _key(link.own[0]) if link.own else None
    history.kept[FIRST] = link.kept[FIRST]
    return history.kept[FIRST]


def _key(entry: Entry) -> frozenset[Any]:
    """The same for entries that :meth:`History.common` takes for the same; for others hardly ever."""
    return frozenset(
        (name, None if type(value) is float and isnan(value) else value if type(value) in _PLAIN else None)
        for name, value in entry.items()
    )
