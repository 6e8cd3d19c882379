"""files/missing-shard."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Layout, Severity, Violation, rule
from audit_rules._more import and_more
from audit_rules.files._shards import group, indexed_files


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint; a shard cannot be rebuilt from the others.",
)
def missing_shard(checkpoint: Checkpoint, layout: Layout) -> Iterator[Violation]:
    """A shard of the weights, or the index of the shards, is not there.

    Names such as ``model-00001-of-00006.safetensors`` say how many shards there are, and the index says which. Trainer
    5.23 crashes without the index or a shard; under DeepSpeed and FSDP every process saves its own part.
    """
    missing = set()
    if layout.shard_index:
        missing |= {name for name in indexed_files(checkpoint, layout.shard_index) if name not in checkpoint.entries}
    shards = [name for name in layout.weights if group(name)]
    if shards and not layout.shard_index:
        index = layout.missing.get("weights")
        if index and not checkpoint.stands_in(index):
            yield Violation(f"{index} is not there: nothing says which shard holds which tensor", file=index)
    if len({group(name) for name in shards}) == 1:
        stem, total, extension = group(shards[0]) or ("", 0, "")
        if total <= 10_000:
            names = {f"{stem}-{number:05d}-of-{total:05d}{extension}" for number in range(1, total + 1)}
            missing |= {name for name in names if name not in checkpoint.entries}
    for role, name in layout.missing.items():
        if layout.kind == "deepspeed" and role.partition(":")[2].isdigit():  # of one process, not of an adapter
            missing.add(name)
    gone = sorted(name for name in missing if not checkpoint.stands_in(name))
    if gone:
        listed = ", ".join(gone[:4]) + and_more(gone, " and {} more", 4)
        verb = "is" if len(gone) == 1 else "are"
        part = "state" if layout.kind == "deepspeed" else "weights"
        yield Violation(f"{listed} {verb} not there: part of the {part} cannot be loaded", file=gone[0])
