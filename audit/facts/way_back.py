"""Whether training went on over a resume, by the weights: how far they went back to those of the beginning."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.errors import NotApplicable
from audit.facts.checkpoint import Checkpoint
from audit.facts.file import File
from audit.formats.tensors import Tensor

if TYPE_CHECKING:
    from audit.scan.differences import Floats

ELEMENTS = 1 << 20
"""Elements that are read of each checkpoint at most, spread evenly over its tensors: 4 MiB in single precision."""

LEAST = 256
"""Elements that are read of one tensor at least, if it has so many."""

MOST_TENSORS = ELEMENTS // LEAST


class _Place(NamedTuple):
    file: File
    tensor: Tensor


def way_back(
    first: Checkpoint, before: Checkpoint, after: Checkpoint, only: frozenset[str] = frozenset()
) -> float | None:
    """Return how much of the way from the weights of ``before`` to those of ``first`` was made by ``after``.

    About 0 if training went on, also on other data, and about 1 if it began again with the untrained model, which is
    near ``first``. If ``first`` and ``before`` are the same checkpoint, only the ``lora_B`` of an adapter count, which
    begin as zeros. None if the weights cannot be compared. Reads at most ELEMENTS elements of each checkpoint; of the
    tensors in ``only``, if there are any in it.
    """
    alone = first is before
    places = [_places(checkpoint) for checkpoint in ((before, after) if alone else (first, before, after))]
    names = [
        name
        for name in places[0]
        if all(name in found and found[name].tensor[1:3] == places[0][name].tensor[1:3] for found in places)
        and (not alone or ".lora_B." in name)
        and (not only or name.partition("/")[2] in only)
    ]
    if not names:
        return None
    names = names[:: -(-len(names) // MOST_TENSORS)]
    share = max(LEAST, ELEMENTS // len(names))
    way = made = 0.0
    try:
        with ExitStack() as stack:
            opened: dict[File, Any] = {}
            for name in names:
                count = min(share, prod(places[0][name].tensor.shape))
                values = [_values(found[name], count, opened, stack) for found in places]
                if any(item is None for item in values):
                    continue
                squares, product = _along(values)  # type: ignore[arg-type]
                way, made = way + squares, made + product
    except OSError:
        return None
    return made / way if way else None


def _along(values: "Sequence[Floats]") -> tuple[float, float]:
    """Return the squared length of the way back, and the product of what was made with it; of finite elements."""
    import numpy as np

    first = values[0] if len(values) == 3 else np.zeros_like(values[0])
    before, after = values[-2:]
    with np.errstate(all="ignore"):
        back, made = first - before, after - before
        finite = np.isfinite(back) & np.isfinite(made)
        back, made = back[finite], made[finite]
        return float(np.dot(back, back)), float(np.dot(back, made))


def _values(place: _Place, count: int, opened: dict[File, Any], stack: ExitStack) -> "Floats | None":
    from audit.scan.differences import Part, first_values

    file, tensor = place
    if file not in opened:
        opened[file] = stack.enter_context(file.open())
    return first_values(Part(opened[file], tensor.dtype, tensor.offset, tensor.nbytes), count)


def _places(checkpoint: Checkpoint) -> Mapping[str, _Place]:
    try:
        weights = checkpoint.weights
    except NotApplicable:
        return {}
    return {
        f"{part.file.rpartition('/')[0]}/{name}": _Place(checkpoint.files[part.file], tensor)
        for part in weights
        for name, tensor in part.tensors.items()
        if 0 not in tensor.shape
    }
