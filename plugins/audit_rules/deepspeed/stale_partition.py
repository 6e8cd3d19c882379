"""deepspeed/stale-partition."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, FileScan, Severity, Violation, rule
from audit_rules._scans import was_read

if TYPE_CHECKING:
    from audit.plugin import ZeroState


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint; a partition cannot be rebuilt from the others.",
    explained_by=("steps/directory-mismatch", "deepspeed/latest"),
)
def stale_partition(checkpoint: Checkpoint, zero: "ZeroState", scan: Mapping[str, FileScan]) -> Iterator[Violation]:
    """A partition of ZeRO is byte for byte that of another rank or of the checkpoint before.

    Every update changes every slice, and no two ranks have the same one. DeepSpeed loads such a file without a message:
    that slice of the weights and moments is then of another step, or of another rank.
    """
    known: dict[str, str] = {}
    previous = checkpoint.optional("previous")
    before = previous.optional("zero") if previous is not None and previous.step < checkpoint.step else None
    if previous is not None and before is not None:
        scanned = previous.optional("scan") or {}
        for path in _loaded(before):
            if was_read(scanned, path):
                known[scanned[path].digest] = f"{previous.name}/{path}"
    for path in _loaded(zero):
        if not was_read(scan, path):
            continue
        other = known.setdefault(scan[path].digest, path)
        if other != path:
            yield Violation(f"{path} is byte for byte {other}", file=path, actual=other)


def _loaded(zero: "ZeroState") -> list[str]:
    """The partitions that DeepSpeed loads, by rank: not those that a save of more processes left."""
    return [path for rank, path in sorted(zero.paths.items()) if rank < zero.engine.dp_world_size]
