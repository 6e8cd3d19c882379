"""files/shadowed-adapter."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Layout, NotApplicable, Severity, Violation, rule


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Find out which of the two belongs to this run, and move the other out of the checkpoint.",
)
def shadowed_adapter(checkpoint: Checkpoint, layout: Layout) -> Iterator[Violation]:
    """A full-model weight file hides the adapter, or a stale single file hides the shards.

    Trainer 5.23, ``_load_from_checkpoint``, looks for ``model.safetensors`` and ``pytorch_model.bin`` first, and if it
    finds one reads neither the adapter nor the shards, without a message.
    """
    if layout.kind not in ("adapter", "full"):
        raise NotApplicable("neither an adapter nor a full model")
    for name in layout.shadowing:
        hidden = "the adapter" if layout.kind == "adapter" else "the shards"
        yield Violation(f"{name} is beside {hidden}: Trainer would load it and ignore {hidden}", file=name)
