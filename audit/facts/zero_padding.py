"""NaN and infinite values in the padding of a ZeRO 3 partition, which no parameter has.

ZeRO 3 gives each rank ``ceil(elements / ranks)`` elements of a parameter, also of a frozen one, whose slices are in the
states of the engines (``frozen_param_fragments``). DeepSpeed 0.19 makes them by ``torch.empty``
and copies what the parameter has (``partition_parameters.py``, ``_partition_param``): beyond its end is what was in
memory before, and the optimizer carries it along. ZeRO 1 and 2 pad with zeros.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

from audit.errors import NotApplicable
from audit.facts.file import File
from audit.facts.zero import ZeroState, engine_rank
from audit.facts.zero_tensors import parameters_in
from audit.formats.pickle_values import ITEM_SIZES

if TYPE_CHECKING:
    from audit.formats.zero import Stored

ELEMENTS = 1 << 18
"""Elements that are read at a time."""


def only_padding(zero: ZeroState, files: Mapping[str, File], path: str, records: Iterable[str]) -> frozenset[str]:
    """Return which ``records`` of a partition, or of an engine's state, are finite wherever a parameter has an element.

    Records whose contents are not known are not among them. Reads those that are asked for.
    """
    from audit.formats.zero import flat_tensors_in

    if path in zero.engines:
        return _frozen_padding(zero, files[path], path, set(records))
    ranks, shapes = zero.ranks, zero.engine.shapes
    if not ranks or shapes is None or path not in zero.paths.values() or any(part.slices is not None for part in ranks):
        return frozenset()
    shares = [-(-prod(shape) // len(ranks)) for group in shapes for shape in group.values()]
    if any(sum(part.lengths) != sum(shares) for part in ranks):
        return frozenset()  # what is beyond the parameters is more than padding
    try:
        tensors = parameters_in(zero, files).tensors.values()
    except NotApplicable:
        return frozenset()
    used = [part.tensor for item in tensors if path in item.paths for part in item.pieces().parts if part.path == path]
    asked, found = set(records), set[str]()
    groups = flat_tensors_in(files[path].archive)
    uses = Counter(name for group in groups for name, _ in group)
    for group in groups:
        if not group:
            continue
        weights, size = group[0][1], ITEM_SIZES[group[0][1].dtype]
        end = weights.offset + weights.elements * size
        ranges = sorted(
            ((tensor.offset - weights.offset) // size, tensor.nbytes // size)
            for tensor in used
            if weights.offset <= tensor.offset < end
        )
        for name, place in group:
            known = name in asked and uses[name] == 1 and place.elements == weights.elements
            if known and _finite(files[path], place, ranges):
                found.add(name)
    return frozenset(found)


def _frozen_padding(zero: ZeroState, file: File, path: str, asked: set[str]) -> frozenset[str]:
    from audit.formats.zero import frozen_in

    engine, world = zero.engines[path], zero.engine.dp_world_size
    if engine.stage != 3 or world < 1:
        return frozenset()  # all of a parameter is there, and DeepSpeed pads nothing
    known = frozen_in(file.archive)
    bad: set[str] = set()
    for name, record in engine.frozen.items():
        if record not in asked:
            continue
        place, whole = known.get(name, (None, 0))
        share = -(-whole // world)
        if place is None or place.elements != share:
            bad.add(record)
            continue
        own = max(0, min(share, whole - engine_rank(path) * share))
        if not _finite(file, place, [(0, own)]):
            bad.add(record)
    # What the module has of a storage is no padding.
    return frozenset((asked & {*engine.frozen.values()}) - {*engine.module.values()} - bad)


def _finite(file: File, place: "Stored", ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether all elements in some ranges of a flat tensor are finite; False if they could not be read."""
    import numpy as np

    from audit.scan.differences import Part, first_values

    size = ITEM_SIZES[place.dtype]
    try:
        with file.open() as reader:
            for first, count in ranges:
                for start in range(first, first + count, ELEMENTS):
                    length = min(ELEMENTS, first + count - start)
                    part = Part(reader, place.dtype, place.offset + start * size, length * size)
                    values = first_values(part, length)
                    if values is None or not np.isfinite(values).all():
                        return False
    except OSError:
        return False
    return True
