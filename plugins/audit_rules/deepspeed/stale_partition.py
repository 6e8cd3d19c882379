"""deepspeed/stale-partition."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, FileScan, Severity, SpanScan, TensorRef, Violation, rule
from audit_rules._scans import was_read

if TYPE_CHECKING:
    from audit.plugin import RankOptimizer, ZeroState

MOMENTS = ("exp_avg", "exp_avg_sq")
LEAST = 1e-30
"""Averages of gradients that have long been 0 end at the smallest number there is, and stay there."""
SEEN = 1e-6
"""Learning rate per size of the weights at which an update of Adam changes some of them in single precision."""


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint; a partition cannot be rebuilt from the others.",
    explained_by=("steps/directory-mismatch", "deepspeed/latest"),
)
def stale_partition(checkpoint: Checkpoint, zero: "ZeroState", scan: Mapping[str, FileScan]) -> Iterator[Violation]:
    """A partition of ZeRO, or moments in it, are byte for byte those of another rank or of the checkpoint before.

    Every update changes every slice, and no two ranks have the same one. DeepSpeed loads such a file without a message:
    that slice of the weights and moments is then of another step, or of another rank.

    Moments in single precision are compared by group with those of the checkpoint before, by their CRC, if the
    optimizer counted updates in between; weights if it is Adam, at a learning rate that changes them.
    """
    known: dict[str, str] = {}
    previous = checkpoint.optional("previous")
    before = previous.optional("zero") if previous is not None and previous.step < checkpoint.step else None
    if previous is not None and before is not None:
        scanned = previous.optional("scan") or {}
        for path in _loaded(before):
            if was_read(scanned, path):
                known[scanned[path].digest] = f"{previous.name}/{path}"
    found = False
    for path in _loaded(zero):
        if not was_read(scan, path):
            continue
        other = known.setdefault(scan[path].digest, path)
        if other != path:
            found = True
            yield Violation(f"{path} is byte for byte {other}", file=path, actual=other)
    if previous is None or before is None or found or not _updated(zero, before):
        return
    older: tuple[RankOptimizer, ...] = previous.optional("rank_optimizers") or ()
    if len(older) != len(zero.ranks):
        return
    for own, old in zip(checkpoint.optional("rank_optimizers") or (), older, strict=False):
        if was_read(scan, own.path) and (what := _same(own, old, scan[own.path].spans)) is not None:
            yield Violation(
                f"{own.path}: {what} are byte for byte those of {previous.name}", file=own.path, actual=previous.name
            )


def _loaded(zero: "ZeroState") -> list[str]:
    """The partitions that DeepSpeed loads, by rank: not those that a save of more processes left."""
    return [path for rank, path in sorted(zero.paths.items()) if rank < zero.engine.dp_world_size]


def _updated(zero: "ZeroState", before: "ZeroState") -> bool:
    """Whether the engine made updates in between: steps that overflow change nothing."""
    done, past = zero.engine, before.engine
    return done.global_steps - done.skipped_steps > past.global_steps - past.skipped_steps


def _same(own: "RankOptimizer", old: "RankOptimizer", spans: Mapping[str, SpanScan]) -> str | None:
    """Say which moments or weights of a rank are those of the checkpoint before."""
    for number, entry in own.state.items():
        earlier = old.state.get(number, {})
        for key in MOMENTS:
            if _alike(entry.get(key), earlier.get(key), own, old, spans, LEAST):
                return f"the {key} of group {number}"
    rates = {number: group.get("lr") for group in old.groups for number in group.get("params") or ()}
    for number, (weights, past) in enumerate(zip(own.weights, old.weights, strict=False)):
        rate = rates.get(number)
        moment = own.state.get(number, {}).get(MOMENTS[1])
        span = spans.get(f"data/{moment.storage}") if isinstance(moment, TensorRef) else None
        size = spans.get(f"data/{weights.storage}")
        if span is None or size is None or span.peak <= LEAST or not isinstance(rate, int | float):
            continue
        if rate > SEEN * size.peak and _alike(weights, past, own, old, spans, 0.0):
            return f"the weights of group {number}"
    return None


def _alike(
    new: object,
    old: object,
    own: "RankOptimizer",
    past: "RankOptimizer",
    spans: Mapping[str, SpanScan],
    least: float,
) -> bool:
    """Whether two tensors have the same bytes, and any of the values is above ``least``."""
    if (
        not isinstance(new, TensorRef)
        or not isinstance(old, TensorRef)
        or new.dtype != "F32"
        or new != old._replace(storage=new.storage)
    ):
        return False
    crc, span = own.crcs.get(new.storage), spans.get(f"data/{new.storage}")
    return (
        crc is not None
        and crc == past.crcs.get(old.storage)
        and span is not None
        and span.complete
        and span.peak > least
    )
