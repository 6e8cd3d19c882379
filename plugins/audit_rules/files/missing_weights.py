"""files/missing-weights."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Layout, Severity, Violation, rank_of_metadata, rule


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint that has its weights.",
    explained_by=("files/missing-shard", "files/shard-index-mismatch"),
)
def missing_weights(checkpoint: Checkpoint, layout: Layout) -> Iterator[Violation]:
    """The weights are not there.

    Trainer 5.23, ``_load_from_checkpoint``, needs adapter weights (safetensors or bin), full-model weights, a shard
    index with its shards, or an FSDP or DeepSpeed directory; otherwise it raises "Can't find a valid checkpoint". The
    weights of an adapter in a subdirectory count, too: without them it silently keeps that adapter's fresh values.
    """
    stand_ins = [path for path, file in checkpoint.files.items() if file.stands_in_for and "model" in path]
    for role, name in layout.missing.items():
        base, _, part = role.partition(":")
        if base != "weights" or stand_ins or checkpoint.stands_in(name):
            continue
        if part and layout.kind == "deepspeed":
            continue  # the part of one process: files/missing-shard
        lost = "the checkpoint has no weights to load"
        if part:
            lost = f"the adapter {part} has no weights to load"
        if layout.kind == "fsdp" and (part or rank_of_metadata(name) is not None):
            lost = "this part of the sharded state cannot be loaded"
        yield Violation(f"{name} is not there: {lost}", file=name)
