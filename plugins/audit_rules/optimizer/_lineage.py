"""Whether an optimizer state continues the previous checkpoint's: same kind, groups, shapes, and no state lost."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint
from audit_rules.optimizer._shared import parameters, tensors

if TYPE_CHECKING:
    from audit.plugin import OptimizerState

TITLES = {
    "adam": "Adam", "sgd": "SGD", "adafactor": "Adafactor", "8bit": "an 8-bit optimizer",
    "schedule-free": "a schedule-free optimizer", "layer-wise": "a layer-wise optimizer",
}  # fmt: skip


def against_previous(checkpoint: Checkpoint, optimizer: "OptimizerState") -> Iterator[str]:
    """Say what continued training cannot have changed: Trainer refuses other groups and keeps every state."""
    previous = checkpoint.optional("previous")
    before: OptimizerState | None = previous.optional("optimizer") if previous is not None else None
    if before is None:
        return
    kind, was = _family(optimizer), _family(before)
    if kind != was and "other" not in (kind, was):
        yield f"is of {TITLES[kind]}, but that of {previous.name} is of {TITLES[was]}"
        return
    sizes, sizes_before = _sizes(optimizer), _sizes(before)
    if len(sizes) != len(sizes_before):
        yield f"has {len(sizes)} parameter groups, but {len(sizes_before)} in {previous.name}"
        return
    if sizes != sizes_before:
        yield f"has {sum(sizes)} parameters in groups of {sizes}, but {sum(sizes_before)} of {sizes_before} in {previous.name}"
        return
    if not optimizer.state:
        return  # optimizer/fresh
    lost = [index for index, entry in before.state.items() if entry and not optimizer.state.get(index)]
    if lost:
        yield f"has no state for {len(lost)} of {sum(sizes)} parameters that have one in {previous.name}, first {lost[0]}"
        return
    if optimizer.places and before.places:  # torch refuses a sharded state that lacks a part of its own
        for index, entry in before.state.items():
            if gone := sorted(map(str, entry.keys() - optimizer.state.get(index, {}).keys())):
                yield f"has no {gone[0]} for parameter {index}, but {previous.name} has"
                return
        for number, (group, earlier) in enumerate(zip(optimizer.groups, before.groups, strict=True)):
            if gone := sorted(map(str, earlier.keys() - group.keys())):
                yield f"has no {gone[0]} in group {number}, but {previous.name} has"
                return
    projected = any("rank" in group for group in optimizer.groups)  # GaLore
    shapes = {(index, key): ref.shape for index, key, ref in tensors(before)}
    for index, key, ref in tensors(optimizer):
        old = shapes.get((index, key))
        if old is not None and old != ref.shape and not projected:
            yield f"has {key} of shape {list(ref.shape)} for parameter {index}, but {list(old)} in {previous.name}"
            return


def _family(optimizer: "OptimizerState") -> str:
    if optimizer.kind == "sgd-momentum":
        return "sgd"
    return optimizer.kind if optimizer.kind in TITLES else "other"


def _sizes(optimizer: "OptimizerState") -> list[int]:
    return [len(group["params"]) for group in optimizer.groups] if parameters(optimizer) else []
