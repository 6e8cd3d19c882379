"""Whether the two copies of the weights that ZeRO 1 and 2 save are the same: the module and the fp32 partitions.

The engine loads both and never compares them: until the first step it computes with the module, and that step then
overwrites the module with the updated partitions. Read is a part of each fragment, so that memory and time are bounded.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.errors import NotApplicable
from audit.facts.file import File
from audit.facts.zero import ZeroState

if TYPE_CHECKING:
    from audit.formats.zero import Stored
    from audit.scan.differences import Floats

ELEMENTS = 1 << 21
"""Elements that are read of each copy at most, spread evenly over its fragments: 8 MiB in single precision."""

LEAST = 64
"""Elements that are read of one fragment at least, if it has so many."""

_DIGITS = {"BF16": 8, "F16": 11, "F32": 24, "F64": 53}
"""Binary digits of the significand."""


class Apart(NamedTuple):
    """A parameter with two values: ``changed`` of the ``compared`` elements that are in the file ``path``."""

    name: str
    path: str
    changed: int
    compared: int


class Fragment(NamedTuple):
    """A part of a parameter: ``size`` elements, from ``inside`` of the parameter and from ``start`` of a rank's."""

    name: str
    rank: int
    inside: int
    start: int
    size: int


def apart_in(zero: ZeroState, files: Mapping[str, File]) -> tuple[Apart, ...]:
    """Compare the module with the partitions. An element is the same within one unit in the last place of its type.

    Raises NotApplicable if there is only one copy (ZeRO-3), or it is not known which elements belong together.
    """
    from audit.formats.zero import flat_weights_in, module_in

    ranks, shapes, path = zero.ranks, zero.engine.shapes, next(iter(zero.engines))
    if zero.engine.empty or not ranks:
        raise NotApplicable("the weights are in the partitions only")
    if shapes is None or any(part.aligned or len(part.lengths) != len(shapes) for part in ranks):
        raise NotApplicable("the order of the parameters in the partitions is not known")
    module = module_in(files[path].archive)
    flat = [flat_weights_in(files[zero.paths[rank]].archive) for rank in range(len(ranks))]
    found: list[Apart] = []
    with ExitStack() as stack:
        opened: dict[str, Any] = {}
        for group, parameters in enumerate(shapes):
            lengths = [part.lengths[group] + padding(ranks[0], part, group) for part in ranks]
            cut = list(fragments(parameters, lengths, [part.lengths[group] for part in ranks]))
            share = max(LEAST, ELEMENTS // max(1, len(cut) * len(shapes)))
            for item in cut:
                place, other = module.get(item.name), flat[item.rank][group]
                if place is None or other is None or place.elements != prod(parameters[item.name]):
                    continue
                own = zero.paths[item.rank]
                try:
                    pair = (
                        _values(files[path], place, item.inside, item.size, share, opened, stack),
                        _values(files[own], other, item.start, item.size, share, opened, stack),
                    )
                except OSError as error:
                    raise NotApplicable(f"{path} or {own} could not be read: {error}") from None
                changed, compared = _differing(*pair, place.dtype)
                if changed:
                    found.append(Apart(item.name, own, changed, compared))
    return tuple(found)


def padding(first: Any, part: Any, group: int) -> int:
    """The padding that is not in the file: of a slice that was written without it."""
    whole = first.lengths[group] == part.lengths[group]
    return 0 if whole or not part.paddings else int(part.paddings[group])


def fragments(parameters: Mapping[str, tuple[int, ...]], lengths: list[int], written: list[int]) -> Iterator[Fragment]:
    """The parts of each parameter in the slices of the ranks, which follow each other without a gap."""
    starts = [sum(lengths[:rank]) for rank in range(len(lengths))]
    at = 0
    for name, shape in parameters.items():
        end = at + prod(shape)
        for rank, first in enumerate(starts):
            begin, stop = max(at, first), min(end, first + written[rank])
            if begin < stop:
                yield Fragment(name, rank, begin - at, begin - first, stop - begin)
        at = end


def _values(
    file: File, place: "Stored", start: int, size: int, share: int, opened: dict[str, Any], stack: ExitStack
) -> "Floats":
    """The first and the last elements of a fragment, ``share`` of them in all."""
    import numpy as np

    from audit.formats.pickle_values import ITEM_SIZES
    from audit.scan.differences import Part, first_values

    if file.path not in opened:
        opened[file.path] = stack.enter_context(file.open())
    width = ITEM_SIZES[place.dtype]
    head = min(size, share) if size <= share else (share + 1) // 2
    found = []
    for first, count in ((start, head), (start + size - (min(size, share) - head), min(size, share) - head)):
        if count:
            part = Part(opened[file.path], place.dtype, place.offset + first * width, count * width)
            values = first_values(part, count)
            if values is None:
                raise NotApplicable(f"{file.path} has elements that are no numbers")
            found.append(values)
    return np.concatenate(found)


def _differing(module: "Floats", partition: "Floats", dtype: str) -> tuple[int, int]:
    """Return how many elements of the module are not those of the partition in its own type, and how many there are."""
    import numpy as np

    digits = _DIGITS.get(dtype)
    if digits is None:
        return 0, 0
    finite = np.isfinite(module) & np.isfinite(partition)
    a, b = module[finite], partition[finite]
    with np.errstate(all="ignore"):
        _, exponents = np.frexp(np.maximum(np.abs(a), np.abs(b)))
        unit = np.ldexp(1.0, np.maximum(exponents - digits, _smallest(dtype)))
        return int(np.count_nonzero(np.abs(a - b) > unit)), len(a)


def _smallest(dtype: str) -> int:
    """The exponent of the smallest step between two numbers of a type; below, halves lose digits."""
    return {"F16": -24, "BF16": -133, "F32": -149}.get(dtype, -1074)
