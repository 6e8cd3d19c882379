"""weights/prefix."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Layout, Severity, Violation, WeightFile, rule
from audit_rules._passage import went_on

PEFT = "base_model.model."
WRAPPERS = ("_orig_mod", "module", "_fsdp_wrapped_module")
CLASSES = ("OptimizedModule", "DataParallel", "DistributedDataParallel", "FullyShardedDataParallel")
"""The classes of the wrappers, as PEFT names the class of the base model if the adapter has no task type."""


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Rename the tensors as expected; from now on save the unwrapped model, and let Trainer compile it "
    "(torch_compile=True).",
)
def prefix(checkpoint: Checkpoint, layout: Layout, weights: tuple[WeightFile, ...]) -> Iterator[Violation]:
    """The tensors are named after a wrapper around the model, so a resume silently skips them.

    ``torch.compile`` puts ``_orig_mod.`` and DataParallel ``module.`` before every name. Trainer loads with
    ``strict=False`` and PEFT discards its report: a name that does not match is skipped, and the weight in memory stays
    as it was; an adapter starts at zero again. Measured with Trainer 5.23 and PEFT 0.21:

    A wrapper before ``base_model.model.`` of an adapter is never loaded. A wrapper around the whole (base) model is
    loaded only by a program that wraps it again: this passes if PEFT recorded such a base model, and is an info if the
    run was resumed with these names and continued. Names that had no wrapper in the previous checkpoint are not loaded.
    A part of the model that was wrapped (``layers.0._orig_mod.``) is loaded by its program. ``module.`` is not checked
    for a plain ``nn.Module``, which may have a part of that name.
    """
    known = layout.kind == "adapter" or "config.json" in checkpoint.files
    before = _names_before(checkpoint)
    for file in weights:
        names = list(file.tensors)
        outside = [name for name in names if _inner(name).startswith(PEFT) and _inner(name) != name]
        whole = [name for name in names if _wrapper(name.removeprefix(PEFT))]
        renamed = [name for name in names if name not in before and _bare(name) in before and _bare(name) != name]
        whole, renamed = (
            found if all(_is_certain(name) for name in found) or (known and len(found) == len(names)) else []
            for found in (whole, renamed)
        )
        wrapped, why = outside, "PEFT loads none of them"
        severity = None
        if not wrapped and renamed:
            previous: Checkpoint = checkpoint.previous
            wrapped, why = renamed, f"but not in {previous.name}"
        elif not wrapped and whole:
            if _recorded(checkpoint):
                continue
            wrapped, why = whole, "only a program that wraps the model again loads them"
            severity = Severity.INFO if went_on(checkpoint, frozenset(whole[:1])) else None
        if wrapped:
            yield Violation(
                f"{len(wrapped)} of {len(names)} tensors in {file.file} are named after a wrapper, {why}: {wrapped[0]}",
                file=file.file,
                expected=_bare(wrapped[0]),
                actual=wrapped[0],
                severity=severity,
                blocks_resume=None if severity is None else False,
            )


def _wrapper(name: str) -> bool:
    return name.partition(".")[0] in WRAPPERS


def _inner(name: str) -> str:
    """A name without the wrappers before and between PEFT's own ``base_model.model.``."""
    parts, left = name.split("."), PEFT.split(".")[:-1]
    while left and parts and (parts[0] == left[0] or parts[0] in WRAPPERS):
        if parts.pop(0) == left[0]:
            del left[0]
    return name if left else PEFT + ".".join(parts)


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _is_certain(name: str) -> bool:
    """Whether it has the name of a wrapper that no module of a model has."""
    return any(part in WRAPPERS and part != "module" for part in name.split("."))


def _names_before(checkpoint: Checkpoint) -> frozenset[str]:
    previous = checkpoint.optional("previous")
    weights = previous.optional("weights") if previous is not None else None
    return frozenset(name for file in weights or () for name in file.tensors)


def _recorded(checkpoint: Checkpoint) -> bool:
    """Whether PEFT recorded that the base model was wrapped when the adapter was added."""
    mappings = [adapter.config.get("auto_mapping") for adapter in checkpoint.optional("adapters") or ()]
    return any(isinstance(item, dict) and item.get("base_model_class") in CLASSES for item in mappings)
