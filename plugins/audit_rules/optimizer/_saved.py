"""Whether the moments of an optimizer match the tensors that were saved with it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, FileFormat, Layout, WholeTensor
from audit_rules.optimizer._shared import parameters, tensors

if TYPE_CHECKING:
    from audit.plugin import OptimizerState

KNOWN = ("training_args.bin", "rng_state", "optimizer", "scheduler", "scaler")
AS_TRAINED = frozenset(
    {"LORA", "ADALORA", "LOHA", "LOKR", "IA3", "OFT", "VERA", "PROMPT_TUNING", "LN_TUNING", "TRAINABLE_TOKENS"}
)
"""Methods of PEFT 0.21 that save parameters in the shapes in which they are trained (P-tuning does not). AdaLora saves
its matrices reduced to the remaining ranks, after which a resume crashes."""

Shape = tuple[int, ...]


def against_weights(checkpoint: Checkpoint, layout: Layout, optimizer: "OptimizerState") -> Iterator[str]:
    """Say what the optimizer has and the weights do not, if they can be compared."""
    if any("rank" in group for group in optimizer.groups) or optimizer.kind not in ("adam", "8bit", "sgd-momentum"):
        return
    if layout.kind == "adapter":
        yield from _adapter(checkpoint, layout, optimizer)
    elif layout.kind == "full":
        yield from _full(checkpoint, optimizer)
    elif optimizer.places:
        yield from _sharded(checkpoint, optimizer)


def _adapter(checkpoint: Checkpoint, layout: Layout, optimizer: "OptimizerState") -> Iterator[str]:
    adapters = checkpoint.optional("adapters")
    if not adapters or len(adapters) != len(layout.adapters) or _further_weights(checkpoint, layout):
        return
    if any(str(item.config.get("peft_type")) not in AS_TRAINED for item in adapters):
        return
    names = [name for item in adapters for name in item.tensors]
    saved = Counter(tensor.shape for item in adapters for tensor in item.tensors.values())
    count, total = len(parameters(optimizer)), len(names)
    # An optimizer that the script made of all parameters of the model has the frozen ones, too, without a state.
    if count > total and not 0 < len(optimizer.state) <= total:
        yield f"trains {len(optimizer.state) or count} parameters, but the adapter has {total} tensors"
        return
    if not optimizer.state:
        return
    foreign = _shapes(optimizer) - saved
    if foreign:
        yield f"has moments of shape {list(next(iter(foreign)))}, which too few tensors of the adapter have"
        return
    if any(item.config.get("peft_type") != "LORA" or item.config.get("target_parameters") for item in adapters):
        return  # an expert that is never used has no state
    missing = min(count, total) - len(optimizer.state)
    unused = _untouched(checkpoint)
    if len(adapters) == 1 and unused is not None and missing > unused:
        yield f"has no state for {missing} of its {min(count, total)} parameters, of which at most {unused} can be unused"


def _full(checkpoint: Checkpoint, optimizer: "OptimizerState") -> Iterator[str]:
    """Check a full model: it may be saved in other shapes than it is trained in, but never with fewer values."""
    weights = checkpoint.optional("weights")
    if weights is None or any("expert" in name for file in weights for name in file.tensors):
        return
    saved = Counter(tensor.shape for file in weights for tensor in file.tensors.values())
    trained = _shapes(optimizer)
    foreign, left = trained - saved, saved - trained
    lost = foreign if _values(foreign) > _values(left) else {}
    if len(parameters(optimizer)) > sum(saved.values()):
        lost = lost or _no_part_of(foreign, left)
    if lost:
        shape, count = max(lost.items(), key=lambda item: prod(item[0]))
        yield f"has moments for {count} parameters of shape {list(shape)} that are not among the saved weights"


def _no_part_of(foreign: "Counter[Shape]", left: "Counter[Shape]") -> dict[Shape, int]:
    """The shapes that are no part of a tensor without moments: one that is saved fused shares a side with its parts."""
    sides = {side for shape in left for side in shape}
    return {
        shape: count
        for shape, count in foreign.items()
        if prod(shape) == 1 or (len(shape) > 1 and sides.isdisjoint(shape))
    }


def _sharded(checkpoint: Checkpoint, optimizer: "OptimizerState") -> Iterator[str]:
    """Check a sharded state, which has names. torch 2.13 refuses to load one that lacks the state of a parameter."""
    named = parameters(optimizer)
    without = [name for name in named if not optimizer.state.get(name)]
    if without and len(without) < len(named):
        yield f"has no state for {len(without)} of its {len(named)} parameters, first {without[0]}"
        return
    weights: Mapping[str, WholeTensor] = checkpoint.optional("sharded_weights") or {}
    for name, key, ref in tensors(optimizer):
        saved = weights.get(f"model.{name}") or weights.get(str(name))
        if saved is not None and key in ("exp_avg", "momentum_buffer") and ref.shape != saved.shape:
            yield f"has {key} of shape {list(ref.shape)} for {name}, whose weights have {list(saved.shape)}"
            return


def keeps_moments_of(optimizer: "OptimizerState", before: Iterable[Shape], now: Iterable[Shape]) -> bool:
    """Whether it has moments in a shape of ``before`` that too few of the tensors in the shapes ``now`` have."""
    return not set(before).isdisjoint(_shapes(optimizer) - Counter(now))


def _values(shapes: "Counter[Shape]") -> int:
    return sum(prod(shape) * count for shape, count in shapes.items())


def _shapes(optimizer: "OptimizerState") -> "Counter[Shape]":
    """The shapes of all first moments; those of 8-bit optimizers are unreliable."""
    keys = ("momentum_buffer",) if optimizer.kind == "sgd-momentum" else ("exp_avg",)
    return Counter(ref.shape for _, key, ref in tensors(optimizer) if key in keys)


def _further_weights(checkpoint: Checkpoint, layout: Layout) -> bool:
    """Whether there may be trained weights beside the adapter, such as LLaVA's ``non_lora_trainables.bin``."""
    own = {adapter.weights for adapter in layout.adapters}
    return any(
        file.format in (FileFormat.SAFETENSORS, FileFormat.TORCH)
        and path not in own
        and not path.rpartition("/")[2].startswith(KNOWN)
        for path, file in checkpoint.files.items()
    )


def _untouched(checkpoint: Checkpoint) -> int | None:
    """How many tensors may belong to modules without a gradient: two for each that is all zero. None if unknown."""
    scan = checkpoint.optional("scan")
    if scan is None:
        return None
    count = 0
    for item in checkpoint.weights:
        found = scan.get(item.file)
        if found is None or found.error:
            return None
        file = checkpoint.files[item.file]
        for name in item.tensors:
            part = found.spans.get(file.span_name(name))
            count += 2 if part is not None and part.all_zero else 0
    return count
