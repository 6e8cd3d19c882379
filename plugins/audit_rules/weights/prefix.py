"""weights/prefix."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Layout, Severity, Violation, WeightFile, rule

PEFT = "base_model.model."


@rule(
    Severity.ERROR,
    remedy="Save the unwrapped model (accelerator.unwrap_model), or rename the tensors; the file is not loaded as it is.",
)
def prefix(checkpoint: Checkpoint, layout: Layout, weights: tuple[WeightFile, ...]) -> Iterator[Violation]:
    """The tensors are named after a wrapper around the model.

    ``torch.compile`` puts ``_orig_mod.`` and DataParallel ``module.`` before every name. Trainer loads with
    ``strict=False``: a name that does not match is skipped, and the weight in memory stays what it was.

    Only a leading part counts. ``module.`` is not judged for a plain ``nn.Module``, which may call a part of it so.
    """
    known = layout.kind == "adapter" or "config.json" in checkpoint.files
    for file in weights:
        names = [name.removeprefix(PEFT) for name in file.tensors]
        for wrapper in ("_orig_mod.", "module."):
            wrapped = [name for name in names if name.startswith(wrapper)]
            if wrapped and (wrapper == "_orig_mod." or (known and len(wrapped) == len(names))):
                yield Violation(
                    f"{len(wrapped)} of {len(names)} tensors in {file.file} are named after a wrapper: {wrapped[0]}",
                    file=file.file,
                    expected=wrapped[0].removeprefix(wrapper),
                    actual=wrapped[0],
                )
                break
