"""weights/hollow."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Severity, Violation, WeightFile, rule
from audit_rules.weights._shared import shown

WRAPPED = "PEFT saves such a file of a model inside torch.compile or DataParallel"
UNWRAPPED = (
    "Give Trainer the PeftModel itself (torch_compile=True compiles it), and start a new run: what was trained was not "
    "saved. If training used ZeRO-3 or FSDP, rebuild the weights from its shards and gather them before saving."
)


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
    A PeftModel inside ``torch.compile`` or DataParallel leaves an adapter without tensors, too: PEFT 0.21 finds nothing
    under the names of the wrapper (weights/prefix). Trainer 5.23 does not resume from it.

    Empty buffers of a full model are legitimate; only weights are checked (``.weight`` and the matrices of an adapter).
    """
    layout = checkpoint.layout
    adapters = {adapter.weights for adapter in layout.adapters}
    sharded = layout.sharded_weights or layout.sharded_optimizer
    for file in weights:
        if not file.tensors:
            wrapped = file.file in adapters and not sharded
            yield Violation(
                f"{file.file} has no tensors" + (f"; {WRAPPED}" if wrapped else ""),
                file=file.file,
                actual=0,
                remedy=UNWRAPPED if wrapped else None,
            )
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
