"""weights/exchanged."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, Severity, Violation, rule
from audit_rules._more import and_more

if TYPE_CHECKING:
    from audit.plugin import Exchange


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint, or exchange the files back if you know how they were exchanged.",
    explained_by=(
        "shards/damaged",
        "shards/incomplete",
        "shards/stale",
        "deepspeed/partition-mismatch",
        "deepspeed/stale-partition",
        "steps/directory-mismatch",
        "weights/not-finite",
        "weights/unchanged",
    ),
)
def exchanged(checkpoint: Checkpoint, exchanged: "tuple[Exchange, ...]") -> Iterator[Violation]:
    """Parts of the sharded weights are in each other's place: two files, or the entries of two tensors.

    Nothing in a shard of torch.distributed.checkpoint (torch 2.13), or in a partition of ZeRO 3 (DeepSpeed 0.19), says
    of which rank it is, so both load exchanged files without a message. The checkpoint before tells: a part that is far
    from what was in its place and near to what was in another's, and the other likewise, was exchanged. Training
    moves weights by small steps from where they were; it does not move two parts of 16 and more elements into each
    other's place. The first elements of each part are compared, at full depth.
    """
    if exchanged:
        first = exchanged[0]
        where = f"that of {first.other}" if first.other != first.path else "that of another tensor"
        more = and_more(exchanged, " (and {} more)")
        yield Violation(
            f"{first.path}: {first.name} is in the place of another part: it continues {where}{more}",
            file=first.path,
            expected=first.path,
            actual=first.other,
        )
