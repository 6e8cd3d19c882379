"""shards/not-finite."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, FileScan, Severity, Violation, rule, shard_span_name
from audit_rules._scans import was_read

if TYPE_CHECKING:
    from audit.plugin import OptimizerState, ShardedState, WholeTensor


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from the newest checkpoint whose values are finite.",
    explained_by=("weights/not-finite", "optimizer/not-finite", "shards/damaged", "shards/stale"),
)
def not_finite(
    checkpoint: Checkpoint, shards: "tuple[ShardedState, ...]", scan: Mapping[str, FileScan]
) -> Iterator[Violation]:
    """A sharded state has NaN or infinite values.

    The first step after a resume carries them into all weights. torch loads them without a message. Weights and moments
    of the optimizer are those of weights/not-finite and optimizer/not-finite; this rule speaks for all other tensors. A
    single number of a script, such as the best loss so far, may be infinite.
    """
    weights: Mapping[str, WholeTensor] = checkpoint.optional("sharded_weights") or {}
    optimizer: OptimizerState | None = checkpoint.optional("optimizer")
    others = {*weights, *(optimizer.places if optimizer is not None else ())}
    for state in shards:
        for path, sections in state.sections.items():
            if not was_read(scan, path):
                continue
            found = scan[path].spans
            wrong = [
                section.key
                for section in sections
                if (data := section.data) is not None
                and section.item.name not in others
                and not (optimizer is not None and section.ref is not None and section.ref.elements <= 1)
                and (span := found.get(shard_span_name(section, data.name))) is not None
                and span.nonfinite
            ]
            if wrong:
                yield Violation(
                    f"{path} has NaN or infinite values in {len(wrong)} parts, first in {wrong[0]}",
                    file=path,
                    expected=0,
                    actual=len(wrong),
                )
