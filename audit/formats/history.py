"""The log history of a trainer state, kept as a chain so that a long history is parsed once for a whole run."""

from collections.abc import Iterator
from json import dumps
from typing import Any, NamedTuple

Entry = dict[str, Any]
"""One entry of ``log_history``."""


class RawHistory(NamedTuple):
    """Length and BLAKE3 digest of the bytes between the brackets of ``log_history``, as Trainer writes them.

    ``head`` are the first of these bytes; see :mod:`audit.formats.known_histories`.
    """

    length: int
    digest: bytes
    head: bytes


class History:
    """Entries of ``log_history``: those of ``base`` (an earlier checkpoint's whole history), then its ``own``.

    ``base`` is set only if the entries are the same, so a base proves a common past. ``problems`` say which entries
    have no step.
    """

    __slots__ = ("_length", "base", "base_count", "kept", "own", "problems", "raw")

    def __init__(
        self,
        own: list[Entry],
        base: "History | None" = None,
        raw: RawHistory | None = None,
        problems: tuple[str, ...] = (),
    ) -> None:
        self.own = own
        self.base = base
        self.base_count = len(base) if base is not None else 0
        self.raw = raw
        self.problems = problems
        self._length = self.base_count + len(own)
        self.kept: dict[str, Any] = {}
        """What was computed from the entries, by name, so that many rules share one pass (audit.facts.series)."""

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Entry]:
        chain = []
        link: History | None = self
        while link is not None:
            chain.append(link.own)
            link = link.base
        for own in reversed(chain):
            yield from own

    @property
    def keys(self) -> frozenset[str]:
        """Every key that any entry has."""
        if "*" not in self.kept:
            self.kept["*"] = frozenset(set().union(*self))
        return self.kept["*"]  # type: ignore[no-any-return]

    @property
    def fresh(self) -> list[Entry]:
        """Entries that the base does not have."""
        return self.own

    @property
    def last(self) -> Entry | None:
        """The newest entry."""
        link: History | None = self
        while link is not None:
            if link.own:
                return link.own[-1]
            link = link.base
        return None

    def common(self, entries: list[Entry]) -> int:
        """Count the entries at the beginning that are the same; NaN is the same as NaN."""
        count = 0
        for mine, other in zip(self, entries, strict=False):
            if mine != other and dumps(mine, sort_keys=True) != dumps(other, sort_keys=True):
                break
            count += 1
        return count
