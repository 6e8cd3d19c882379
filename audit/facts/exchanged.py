"""Parts of a sharded state that are in each other's place: told by the values of the checkpoint before.

Nothing in a shard of torch.distributed.checkpoint or in a partition of ZeRO 3 says which rank, or which tensor, it is
of. But training moves weights by small steps: a part that is far from what was in its place before, and near to what
was in another's, was exchanged with it. Asked is for a whole cycle of such parts, and for enough elements of each that
no training comes there by chance. A few elements of each part are read, so that memory and time are bounded.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.formats.pickle_values import ITEM_SIZES

if TYPE_CHECKING:
    from audit.facts.recorded import Recorded
    from audit.scan.differences import Floats

ELEMENTS = 1 << 20
"""Elements that are read of each checkpoint at most, spread evenly over its parts: 4 MiB in single precision."""

LEAST = 16
"""Elements of a part that is compared, at least: two smaller ones may come to each other's values by training."""

MOST_PARTS, MOST_ALIKE = 1 << 15, 512
"""Parts that are compared of one checkpoint, and parts of one shape that left their place; of more every n-th."""

FAR, NEAR = 0.5, 0.2
"""Left its place: the distance to what was there before, as a share of its length. Near: a share of that distance."""


class Exchange(NamedTuple):
    """A part (``name``) in the file ``path`` that holds what should be in ``other``, a file; they may be one."""

    name: str
    path: str
    other: str


class _Part(NamedTuple):
    name: str
    path: str
    dtype: str
    offset: int
    elements: int


Key = tuple[str, tuple[int, ...]]


def exchanged_between(older: "Recorded", newer: "Recorded") -> tuple[Exchange, ...]:
    """Return the parts of ``newer`` that are in another's place, seen from ``older``; nothing where that is not known.

    Both are compared as they divide the state: after a change of the number of ranks nothing is known.
    """
    mine, before = dict(_parts(newer)), dict(_parts(older))
    keys = [key for key, part in mine.items() if key in before and _alike(part, before[key])]
    if len(keys) < 2:
        return ()
    keys = sorted(keys[:: -(-len(keys) // MOST_PARTS)], key=lambda key: mine[key][1:4])  # one file after the other
    share = max(LEAST, ELEMENTS // len(keys))
    try:
        with _Values(newer, share) as now, _Values(older, share) as was:
            return tuple(_exchanges(keys, mine, before, now, was))
    except OSError:
        return ()


def _alike(one: _Part, other: _Part) -> bool:
    return one.dtype == other.dtype and one.elements == other.elements


class _Values:
    """The first elements of parts; the last file stays open."""

    def __init__(self, checkpoint: "Recorded", share: int) -> None:
        self._checkpoint, self._share = checkpoint, share
        self._path, self._stack = "", ExitStack()
        self._reader: Any = None

    def __enter__(self) -> "_Values":
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def of(self, part: _Part) -> "Floats | None":
        """The first elements, None if they are no finite numbers. Raises OSError."""
        import numpy as np

        from audit.scan.differences import Part, first_values

        if part.path != self._path:
            self._stack.close()
            self._reader = self._stack.enter_context(self._checkpoint.files[part.path].open())
            self._path = part.path
        size = ITEM_SIZES[part.dtype]
        count = min(part.elements, self._share)
        values = first_values(Part(self._reader, part.dtype, part.offset, count * size), count)
        return values if values is not None and bool(np.isfinite(values).all()) else None


def _exchanges(
    keys: list[Key], mine: Mapping[Key, _Part], before: Mapping[Key, _Part], now: _Values, was: _Values
) -> Iterator[Exchange]:
    import numpy as np

    left: dict[tuple[str, int], list[tuple[Key, Floats, Floats, float]]] = {}
    for key in keys:
        values, former = now.of(mine[key]), was.of(before[key])
        if values is None or former is None:
            continue
        apart = float(np.linalg.norm(values - former))
        if apart > FAR * float(np.linalg.norm(former)) and apart:
            left.setdefault((mine[key].dtype, mine[key].elements), []).append((key, values, former, apart))
    for group in left.values():
        group = group[:: -(-len(group) // MOST_ALIKE)]
        formers = np.stack([former for _, _, former, _ in group])
        near = {}
        for place, (_, values, _, apart) in enumerate(group):
            distances = np.linalg.norm(formers - values, axis=1)
            nearest = int(np.argmin(distances))
            if nearest != place and distances[nearest] < NEAR * apart:
                near[place] = nearest
        for place in _in_cycles(near):
            key, target = group[place][0], group[near[place]][0]
            yield Exchange(key[0], mine[key].path, mine[target].path)


def _in_cycles(near: Mapping[int, int]) -> list[int]:
    """The places from which one comes back to the place itself."""
    found = []
    for start in near:
        at, steps = near[start], 1
        while at != start and at in near and steps <= len(near):
            at, steps = near[at], steps + 1
        if at == start:
            found.append(start)
    return sorted(found)


def _parts(checkpoint: "Recorded") -> Iterator[tuple[Key, _Part]]:
    for name, whole in (checkpoint.optional("sharded_weights") or {}).items():
        for part in whole.parts:
            tensor = part.tensor
            elements = tensor.nbytes // ITEM_SIZES[tensor.dtype]
            if part.dense and elements >= LEAST:
                yield (name, part.offsets), _Part(name, part.path, tensor.dtype, tensor.offset, elements)
    zero = checkpoint.optional("zero")
    if zero is None:
        return
    from audit.formats.zero import flat_weights_in

    for rank in range(len(zero.ranks)):
        path = zero.paths[rank]
        for group, stored in enumerate(flat_weights_in(checkpoint.files[path].archive)):
            if stored is not None and stored.elements >= LEAST:
                name = f"group {group} of rank {rank}"
                yield (name, (rank, group)), _Part(name, path, stored.dtype, stored.offset, stored.elements)


__all__ = ["Exchange", "exchanged_between"]
