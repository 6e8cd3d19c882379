"""weights/untrained."""

from collections.abc import Iterator, Mapping

from audit.plugin import Adapter, Checkpoint, FileScan, NotApplicable, Severity, Violation, rule
from audit_rules.weights._shared import Scanned, is_lora_b, never_learned, scanned


@rule(
    Severity.ERROR,
    remedy="Check that the adapter was active, its parameters were in the optimizer (model.print_trainable_parameters()), "
    "and it was saved from the trained model; resume from a checkpoint whose lora_B is not zero.",
    explained_by=("adapter/shape-mismatch",),
)
def untrained(
    checkpoint: Checkpoint, adapters: tuple[Adapter, ...], scan: Mapping[str, FileScan]
) -> Iterator[Violation]:
    """Every lora_B is zero: the adapter has no effect.

    PEFT starts each ``lora_B`` at zero, and the first update at a learning rate above 0 changes it. Zeros after that
    mean that the adapter was not trained, or that another one was saved in its place. If the ``lora_A`` are zero, too,
    the contents of the file were lost, which blocks a resume.

    Not checked at step 1 (a warm-up starts at rate 0), while the learning rate was 0, before the first update that an
    fp16 scaler did not skip, and for one of several adapters: an inactive one keeps its zeros.
    """
    parts = [item for item in scanned(checkpoint, scan) if ".lora_" in item.tensor.name and item.tensor.nbytes]
    second = [item for item in parts if is_lora_b(item.tensor.name)]
    if not second:
        raise NotApplicable("there is no lora_B")
    if not all(item.scan.all_zero for item in second):
        return
    reason = never_learned(checkpoint)
    first = [item for item in parts if ".lora_A." in item.tensor.name]
    lost = bool(first) and all(item.scan.all_zero for item in first)
    if reason and not lost:
        raise NotApplicable(reason)
    yield _violation(second, lost, checkpoint.step)


def _violation(second: list[Scanned], lost: bool, step: int) -> Violation:
    file, count = second[0].file, len(second)
    if lost:
        return Violation(
            f"every lora_A and lora_B in {file} is zero: the contents of the file are lost",
            file=file,
            remedy="Resume from an older checkpoint; the file has its size but none of its values.",
            blocks_resume=True,
        )
    return Violation(
        f"all {count} lora_B in {file} are still zero after {step} steps: the adapter has no effect",
        file=file,
        expected="values other than 0",
        actual=0,
    )
