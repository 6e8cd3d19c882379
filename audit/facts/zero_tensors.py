"""The parameters of a model, put together from the partitions of ZeRO: where each rank has which part of them.

Sources: DeepSpeed 0.19, ``utils/zero_to_fp32.py``. ZeRO 1 and 2 cut the flat weights of a group into one slice for each
rank; ZeRO 3 cuts each parameter, ``ceil(elements / ranks)`` for each, the last one padded.
"""

from collections.abc import Callable, Iterator, Mapping
from math import ceil, prod
from typing import TYPE_CHECKING, NamedTuple

from audit.errors import NotApplicable
from audit.facts.file import File
from audit.facts.whole_tensors import Part, WholeTensor
from audit.facts.zero import ZeroState
from audit.facts.zero_weights import fragments, padding
from audit.formats.pickle_values import ITEM_SIZES
from audit.formats.tensors import Tensor

if TYPE_CHECKING:
    from audit.formats.zero import Stored

Flat = tuple["Stored | None", ...]


class ZeroTensor(NamedTuple):
    """A parameter of ``shape``. ``pieces`` makes its parts, in elements of the flat parameter; ``paths`` have them.

    Parts are made when they are asked for: a thousand ranks have a million of them.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    paths: tuple[str, ...]
    pieces: Callable[[], WholeTensor]


class ZeroTensors(NamedTuple):
    """Parameters by name, and how many are ``lacking``: frozen ones under ZeRO 3, of which each rank has a slice."""

    tensors: Mapping[str, ZeroTensor]
    lacking: int


class _Place(NamedTuple):
    """``size`` elements from ``start`` of a rank's flat tensor are those from ``inside`` of the parameter."""

    rank: int
    group: int
    inside: int
    start: int
    size: int


def parameters_in(zero: ZeroState, files: Mapping[str, File]) -> ZeroTensors:
    """Return the trained parameters, in the precision of the partitions. Nothing is read but the files' pickles.

    Raises NotApplicable if a rank's partition is not there, or it is not known where the parameters are in them.
    """
    from audit.formats.zero import empty_in, flat_weights_in

    ranks, shapes = zero.ranks, zero.engine.shapes
    if not ranks:
        raise NotApplicable(f"{zero.tag}: a rank's partition is not there")
    if shapes is None or any(part.aligned for part in ranks):
        raise NotApplicable(f"{zero.tag}: the order of the parameters in the partitions is not known")
    flat = [flat_weights_in(files[zero.paths[rank]].archive) for rank in range(len(ranks))]
    if any(item is None for own in flat for item in own):
        raise NotApplicable(f"{zero.tag}: the weights in a partition are stored in an unusual order")
    places = _sliced(zero, shapes) if all(part.slices is not None for part in ranks) else _divided(zero, shapes, flat)
    found = {}
    paths = tuple(zero.paths[rank] for rank in range(len(ranks)))
    for (name, shape), where in places:
        used = tuple(dict.fromkeys(paths[place.rank] for place in where()))
        dtype = next((item.dtype for item in flat[0] if item is not None), "F32")
        found[name] = ZeroTensor(name, dtype, shape, used, _pieces(name, shape, dtype, where, flat, paths))
    empty = empty_in(files[next(iter(zero.engines))].archive)
    return ZeroTensors(found, sum(name not in found for name in empty))


def _pieces(
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    where: Callable[[], list[_Place]],
    flat: list[Flat],
    paths: tuple[str, ...],
) -> Callable[[], WholeTensor]:
    def pieces() -> WholeTensor:
        parts = []
        for place in where():
            stored = flat[place.rank][place.group]
            if stored is None or place.start + place.size > stored.elements or stored.dtype != dtype:
                continue  # the whole then lacks a part, and is not compared
            size = ITEM_SIZES[dtype]
            tensor = Tensor(name, dtype, (place.size,), stored.offset + place.start * size, place.size * size)
            parts.append(Part(paths[place.rank], "", (place.inside,), tensor, True))
        return WholeTensor(name, dtype, (prod(shape),), tuple(parts))

    return pieces


Named = tuple[str, tuple[int, ...]]


def _sliced(
    zero: ZeroState, shapes: tuple[Mapping[str, tuple[int, ...]], ...]
) -> Iterator[tuple[Named, Callable[[], list[_Place]]]]:
    """ZeRO 1 and 2: the parameters of a group follow each other, over the borders of ranks."""
    ranks = zero.ranks
    if any(len(part.lengths) != len(shapes) for part in ranks):
        raise NotApplicable(f"{zero.tag}: the partitions have other groups of parameters than the model")
    for group, parameters in enumerate(shapes):
        written = [part.lengths[group] for part in ranks]
        lengths = [part.lengths[group] + padding(ranks[0], part, group) for part in ranks]
        if sum(lengths) < sum(map(prod, parameters.values())):
            raise NotApplicable(f"{zero.tag}: the partitions are smaller than the model")
        by_name: dict[str, list[_Place]] = {name: [] for name in parameters}
        for item in fragments(parameters, lengths, written):
            by_name[item.name].append(_Place(item.rank, group, item.inside, item.start, item.size))
        for name, shape in parameters.items():
            yield (name, shape), lambda found=by_name[name]: found  # type: ignore[misc]


def _divided(
    zero: ZeroState, shapes: tuple[Mapping[str, tuple[int, ...]], ...], flat: list[Flat]
) -> Iterator[tuple[Named, Callable[[], list[_Place]]]]:
    """ZeRO 3: every rank has an equal part of each parameter. Its flat tensors count as one, in their order."""
    world = len(zero.ranks)
    sizes = [item.elements if item is not None else 0 for item in flat[0]]
    if any([item.elements if item is not None else 0 for item in own] != sizes for own in flat):
        raise NotApplicable(f"{zero.tag}: the partitions of the ranks differ in size")
    parameters = {name: shape for group in shapes for name, shape in group.items()}
    if sum(ceil(prod(shape) / world) for shape in parameters.values()) > sum(sizes):
        raise NotApplicable(f"{zero.tag}: the partitions are smaller than the model")
    begins = [sum(sizes[:group]) for group in range(len(sizes))]
    at = 0
    for name, shape in parameters.items():
        whole = prod(shape)
        share = ceil(whole / world)

        def where(at: int = at, share: int = share, whole: int = whole) -> list[_Place]:
            found = []
            for rank in range(world):
                inside = rank * share
                left, start = max(0, min(share, whole - inside)), at
                for group, begin in enumerate(begins):
                    count = min(left, begin + sizes[group] - start)
                    if count > 0 and start >= begin:
                        found.append(_Place(rank, group, inside, start - begin, count))
                        inside, start, left = inside + count, start + count, left - count
            return found

        yield (name, shape), where
        at += share
