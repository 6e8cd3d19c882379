"""What the rules on the optimizer share: its tensors with the scan of their records."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from audit.plugin import Layout, NotApplicable, SpanScan, TensorRef
from audit_rules._scans import was_read

if TYPE_CHECKING:
    from audit.plugin import FileScan, OptimizerState


class Moment(NamedTuple):
    """One tensor of the state of one parameter, and what the scan found in all its parts."""

    parameter: object
    key: str
    ref: TensorRef
    scan: SpanScan


def tensors(optimizer: "OptimizerState") -> Iterator[tuple[object, str, TensorRef]]:
    """Yield (parameter, key, tensor) of the whole state."""
    for index, entry in optimizer.state.items():
        for key, value in entry.items():
            if isinstance(value, TensorRef) and isinstance(key, str):
                yield index, key, value


def place_of(layout: Layout) -> str | None:
    """The file of the optimizer's state, or the directory of a sharded one."""
    shards = layout.sharded_optimizer or layout.sharded_weights
    return layout.optimizer or (shards[0].rpartition("/")[0] or shards[0] if shards else None)


def moments(optimizer: "OptimizerState", layout: Layout, scan: "Mapping[str, FileScan]") -> list[Moment]:
    """Return the tensors of the state of which all parts were read. Raises NotApplicable if no file was."""
    single = ((layout.optimizer, ""),) if layout.optimizer else ()
    paths = {path for places in (*optimizer.places.values(), single) for path, _ in places}
    if not any(was_read(scan, path) for path in paths):
        raise NotApplicable("the optimizer state could not be read completely")
    found = []
    for index, key, ref in tensors(optimizer):
        places = optimizer.places.get(ref.storage, ((layout.optimizer or "", f"data/{ref.storage}"),))
        parts = [scan[path].spans.get(span) for path, span in places if was_read(scan, path)]
        known = [part for part in parts if part is not None and part.complete]
        if known and len(known) == len(places):
            found.append(Moment(index, key, ref, _together(known)))
    return found


def _together(parts: Sequence[SpanScan]) -> SpanScan:
    """What was found in a tensor that is stored in several parts; runs of zeros are not known of it."""
    if len(parts) == 1:
        return parts[0]
    return SpanScan(
        nonfinite=any(part.nonfinite for part in parts),
        negative=any(part.negative for part in parts),
        all_zero=all(part.all_zero for part in parts),
        peak=max(part.peak for part in parts),
        zero_run=0,
        zero_run_at=0,
        crc=None,
        complete=True,
    )


def parameters(optimizer: "OptimizerState") -> list[object]:
    """Return the indices of all trained parameters, in the order of the groups."""
    return [index for group in optimizer.groups for index in group["params"]]
