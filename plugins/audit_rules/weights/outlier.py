"""weights/outlier."""

from collections.abc import Iterator, Mapping

from audit.plugin import Checkpoint, FileScan, Severity, Violation, rule
from audit_rules.weights._shared import Scanned, scanned


@rule(
    Severity.WARNING,
    remedy="Compare the tensor with that of an older checkpoint: one extreme value is a flipped bit, so resume from the "
    "older checkpoint; many are a sign of diverged training.",
)
def outlier(
    checkpoint: Checkpoint,
    scan: Mapping[str, FileScan],
    *,
    lora_limit: float = 1e3,
    limit: float = 1e15,
    half_limit: float = 1e4,
) -> Iterator[Violation]:
    """A weight is larger than training can make it.

    A flipped bit in an exponent turns 0.02 into 5e36; torch and safetensors load it, and the loss stays the same or
    becomes NaN. ``lora_limit`` applies to LoRA matrices (481 of 481 real and generated files are below), ``half_limit``
    to matrices in fp16, whose largest value is 65504, and ``limit`` to all other weights: no statistic that a model
    keeps, not even a variance of raw inputs, comes near it.

    Not checked: buffers for masking attention (``mask`` or a matrix ``bias``), which may have the lowest number there
    is.
    """
    for item in scanned(checkpoint, scan):
        bound = _bound(item, lora_limit, limit, half_limit)
        if item.scan.peak > bound:
            yield Violation(
                f"{item.tensor.name} in {item.file} has a value of {item.scan.peak:.3g}, which no training reaches",
                file=item.file,
                expected=f"at most {bound:g}",
                actual=item.scan.peak,
            )


def _bound(item: Scanned, lora: float, limit: float, half: float) -> float:
    name = item.tensor.name
    last = name.rpartition(".")[2]
    if "mask" in last or (last == "bias" and len(item.tensor.shape) > 1):
        return float("inf")
    if ".lora_A." in name or ".lora_B." in name:
        return lora
    return half if item.tensor.dtype == "F16" and len(item.tensor.shape) > 1 else limit
