"""Averages of gradients and of their squares in the parts in which they are stored, and how fast they fade."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.plugin import FileScan, Layout, SpanScan
from audit_rules._scans import was_read
from audit_rules.optimizer._shared import tensors

if TYPE_CHECKING:
    from audit.plugin import OptimizerState

FIRST, SECOND = "exp_avg", "exp_avg_sq"

LEAST = {"F64": 1e-30, "F32": 1e-30, "BF16": 1e-30, "F16": 1e-4}
"""By type: a magnitude that is surely not rounded to zero. Quantized averages are not compared."""

SQUARED = 1e-15
"""A first moment of which the square is not rounded to zero, in a type with the range of float32."""

Group = Mapping[str, Any]


class Average(NamedTuple):
    """A part of an average of one parameter: where it is, its type, and what the scan found there."""

    parameter: object
    key: str
    path: str
    dtype: str
    scan: SpanScan

    @property
    def has_square(self) -> bool:
        """Whether it is large enough for the average of the squares not to be zero."""
        return self.dtype != "F16" and self.scan.peak >= SQUARED


Part = tuple[str, str, str]
"""A parameter, the key of an average, and which part of the whole tensor it is."""


def averages(optimizer: "OptimizerState", layout: Layout, scan: Mapping[str, FileScan]) -> dict[Part, Average]:
    """Return the parts of all averages that were read to their end, and that share their bytes with nothing else."""
    found = {}
    shared = Counter(ref.storage for _, _, ref in tensors(optimizer))
    for parameter, key, ref in tensors(optimizer):
        if key not in FADING or ref.dtype not in LEAST or not ref.elements or shared[ref.storage] > 1:
            continue
        places = optimizer.places.get(ref.storage, ((layout.optimizer or "", f"data/{ref.storage}"),))
        for number, (path, span) in enumerate(places, 1):
            part = scan[path].spans.get(span) if was_read(scan, path) else None
            if part is not None and part.complete:
                place = f"{number} of {len(places)} of {list(ref.shape)}"
                found[str(parameter), key, place] = Average(parameter, key, path, ref.dtype, part)
    return found


def groups_of(optimizer: "OptimizerState") -> dict[str, Group]:
    """Return the group of each parameter."""
    return {str(name): group for group in optimizer.groups for name in group["params"]}


def betas_of(group: Group | None) -> tuple[float, float] | None:
    """Adam's two factors; None if they are no numbers, or such that one moment says nothing of the other."""
    found = group.get("betas") if group is not None else None
    if type(found) not in (tuple, list) or len(found) < 2:  # type: ignore[arg-type]
        return None
    first, second = (_factor(value) for value in found[:2])  # type: ignore[index]
    return (first, second) if first is not None and second is not None and first <= second < 1 else None


def _factor(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None


def _in_betas(place: int) -> Callable[[Group], float | None]:
    def factor(group: Group) -> float | None:
        found = group.get("betas")
        return _factor(found[place]) if isinstance(found, tuple | list) and len(found) > place else None

    return factor


FADING: Mapping[str, Callable[[Group], float | None]] = {
    FIRST: _in_betas(0),
    SECOND: _in_betas(1),
    "max_exp_avg_sq": lambda group: 1.0 if "betas" in group else None,
    "momentum_buffer": lambda group: _factor(group.get("momentum")),
    "square_avg": lambda group: _factor(group.get("alpha")),  # RMSprop
    "sum": lambda group: 1.0 if "lr_decay" in group else None,  # Adagrad
}
"""What an update multiplies an average with before it adds the new gradient, from the group of the parameter."""
