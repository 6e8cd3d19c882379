"""weights/hollow."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Severity, Violation, WeightFile, rule
from audit_rules.weights._shared import shown


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Rebuild the weights from the ZeRO or FSDP shards if they are still there (zero_to_fp32.py), else resume from "
    "an older checkpoint; gather the weights before saving.",
)
def hollow(checkpoint: Checkpoint, weights: tuple[WeightFile, ...]) -> Iterator[Violation]:
    """A weight file has no tensors, or tensors without values.

    This is left by DeepSpeed ZeRO-3 without gathering, or by a state dict taken from a model split by FSDP: training,
    evaluation and loss look normal, and the file is tiny. PEFT loads it without an error, and the adapter starts over.

    Empty buffers of a full model are legitimate; only weights are checked (``.weight`` and the matrices of an adapter).
    """
    for file in weights:
        if not file.tensors:
            yield Violation(f"{file.file} has no tensors", file=file.file, actual=0)
            continue
        empty = [name for name, tensor in file.tensors.items() if 0 in tensor.shape]
        counted = [name for name in empty if name.endswith(".weight") or ".lora_" in name]
        if counted or len(empty) == len(file.tensors):
            yield Violation(
                f"{len(empty)} of {len(file.tensors)} tensors in {file.file} have no values: {shown(counted or empty)}",
                file=file.file,
                expected=0,
                actual=len(empty),
            )
