"""What the rules on the optimizer share: its tensors with the scan of their records."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from audit.plugin import TensorRef

if TYPE_CHECKING:
    from audit.plugin import FileScan, OptimizerState, SpanScan


class Moment(NamedTuple):
    """One tensor of the state of one parameter, and what the scan found in its record."""

    parameter: object
    key: str
    ref: TensorRef
    scan: "SpanScan"


def tensors(optimizer: "OptimizerState") -> Iterator[tuple[object, str, TensorRef]]:
    """Yield (parameter, key, tensor) of the whole state."""
    for index, entry in optimizer.state.items():
        for key, value in entry.items():
            if isinstance(value, TensorRef) and isinstance(key, str):
                yield index, key, value


def moments(optimizer: "OptimizerState", scan: "FileScan") -> Iterator[Moment]:
    """Yield the tensors of the state whose records were read completely."""
    for index, key, ref in tensors(optimizer):
        found = scan.spans.get(f"data/{ref.storage}")
        if found is not None and found.complete:
            yield Moment(index, key, ref, found)


def parameters(optimizer: "OptimizerState") -> list[object]:
    """Return the indices of all trained parameters, in the order of the groups."""
    return [index for group in optimizer.groups for index in group["params"]]
