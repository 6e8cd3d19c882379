"""files/shard-index-mismatch."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Damage, Layout, NotApplicable, Severity, Violation, rule
from audit_rules.files._shards import group, indexed_files, shard_index


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint; this one mixes the files of two saves.",
    explained_by=("files/missing-shard", "security/escaping-path"),
)
def shard_index_mismatch(checkpoint: Checkpoint, layout: Layout) -> Iterator[Violation]:
    """The shard index does not match the shards or the tensors in them.

    Trainer 5.23 computes missing keys from the index alone: a tensor that is in the index but not in its shard keeps
    the value it had before the resume, without a message. Shards of a second group (``-of-00002`` beside ``-of-00006``)
    are left over from another save.
    """
    if layout.shard_index is None:
        raise NotApplicable("the weights are not sharded")
    index = shard_index(checkpoint, layout.shard_index)
    if isinstance(index, Damage):
        yield Violation(f"{layout.shard_index} {index.message}, so it is not a shard index", file=layout.shard_index)
        return
    mapped = index.weight_map
    if not mapped and not layout.weights:
        yield Violation(
            f"{layout.shard_index} names no tensor, and there is no shard, so there are no weights",
            file=layout.shard_index,
        )
        return
    totals = {found[1] for name in layout.weights if (found := group(name))}
    if len(totals) > 1:
        groups = " and ".join(f"-of-{total:05d}" for total in sorted(totals))
        yield Violation(f"shards of {len(totals)} groups are mixed: {groups}", file=layout.shard_index)
        return
    extra = sorted(set(layout.weights) - indexed_files(checkpoint, layout.shard_index))
    if extra:
        yield Violation(f"{extra[0]} is a shard that {layout.shard_index} does not name", file=extra[0])
        return
    held = {name: part.file for part in checkpoint.weights for name in part.tensors}
    for name in sorted(mapped):
        if mapped[name] not in checkpoint.entries:
            continue  # files/missing-shard, or files/placeholder
        if held.get(name) != mapped[name]:
            where = f"it is in {held[name]}" if name in held else "no shard holds it"
            yield Violation(
                f"{layout.shard_index} says that {name} is in {mapped[name]}, but {where}", file=mapped[name]
            )
            return
    unnamed = sorted(set(held) - set(mapped))
    if unnamed:
        yield Violation(
            f"{held[unnamed[0]]} holds {unnamed[0]}, which the index does not name", file=layout.shard_index
        )
