"""files/missing-adapter-config."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Layout, Severity, Violation, rule


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Copy adapter_config.json from a checkpoint of the same run; it does not change during training.",
)
def missing_adapter_config(checkpoint: Checkpoint, layout: Layout) -> Iterator[Violation]:
    """Adapter weights have no adapter_config.json.

    PEFT cannot load such an adapter (``PeftModel.from_pretrained`` needs rank, targets and base model), and nothing
    shows whether the resuming code builds the adapter that was trained.
    """
    for role, name in layout.missing.items():
        if role.partition(":")[0] == "adapter_config" and not checkpoint.stands_in(name):
            yield Violation(f"{name} is not there: the adapter's rank, targets and base model are unknown", file=name)
