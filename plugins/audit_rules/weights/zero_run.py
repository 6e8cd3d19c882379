"""weights/zero-run."""

from collections import Counter
from collections.abc import Iterator, Mapping

from audit.plugin import Checkpoint, FileScan, Severity, TensorRef, Violation, rule, zeros_are_normal
from audit_rules.weights._shared import Scanned, is_lora_b, never_learned, scanned, shown


@rule(
    Severity.WARNING,
    remedy="Compare the file with a backup or an older checkpoint; if these weights were lost, resume from the older one.",
    explained_by=("weights/untrained", "weights/rank-slice", "weights/unchanged"),
)
def zero_run(
    checkpoint: Checkpoint, scan: Mapping[str, FileScan], *, lora_bytes: int = 256, page_bytes: int = 4096
) -> Iterator[Violation]:
    """Weights have a run of zeros that training does not leave: a lost page, or a file that was never filled.

    After a power failure a file may have its full size and pages of zeros (nothing in Trainer or safetensors calls
    fsync). It loads without an error.

    Reported are ``lora_bytes`` zero bytes within a dense LoRA matrix (at least four whole rows of a ``lora_B``: the row
    of an output that never fires is zero), ``page_bytes`` within any other matrix, a ``lora_A`` that is all zero (PEFT
    starts it at random), more zero ``lora_B`` than the optimizer has parameters without a gradient, and a matrix that
    is all zero and was not in an older checkpoint.

    A file of nothing but zeros is an error and blocks a resume.

    Not reported: embeddings, experts, output heads and masks, where rows of zeros are normal; vectors; zeros at the
    same place in another checkpoint (a pruned model).
    """
    items = list(scanned(checkpoint, scan))
    known = _elsewhere(checkpoint)
    lost: dict[str, list[str]] = {}
    for item in items:
        if _holds_run(item, lora_bytes, page_bytes) and not any(
            _same(item, part) for part in known.get(_key(item), [])
        ):
            lost.setdefault(item.file, []).append(
                f"{item.scan.zero_run} bytes from byte {item.scan.zero_run_at} in {item.tensor.name}"
            )
        elif _emptied(item, known.get(_key(item), [])):
            lost.setdefault(item.file, []).append(f"all of {item.tensor.name}")
    for name, file in _untrained_too_many(checkpoint, scan, items):
        if f"all of {name}" not in lost.get(file, []):
            lost.setdefault(file, []).append(f"all of {name}")
    for file in dict.fromkeys(item.file for item in items):
        values = [item for item in items if item.file == file and item.tensor.nbytes]
        # A rank may hold nothing but rows of an embedding that no token uses.
        few = file in checkpoint.layout.sharded_weights and all(zeros_are_normal(item.tensor) for item in values)
        if values and not few and all(item.scan.all_zero for item in values):
            lost.pop(file, None)
            yield Violation(
                f"every value in {file} is zero: its contents are lost",
                file=file,
                severity=Severity.ERROR,
                blocks_resume=True,
            )
    for file, places in lost.items():
        yield Violation(f"{file} has zeros in place of values: {shown(places, 2)}", file=file, actual=len(places))


Known = dict[tuple[str, str], list[Scanned]]


def _key(item: Scanned) -> tuple[str, str]:
    return item.file, item.tensor.name


def _elsewhere(checkpoint: Checkpoint) -> Known:
    """The same tensors in the nearest older and the nearest newer checkpoint of this run."""
    found: Known = {}
    for other in checkpoint.neighbours:
        scan = other.optional("scan") if other is not None else None
        if other is not None and scan is not None and (other.optional("weights") or other.optional("sharded_weights")):
            for item in scanned(other, scan):
                found.setdefault(_key(item), []).append(item)
    return found


def _holds_run(item: Scanned, lora_bytes: int, page_bytes: int) -> bool:
    tensor = item.tensor
    if not item.scan.zero_run or item.scan.all_zero:
        return False
    if is_lora_b(tensor.name):
        return item.scan.zero_run >= max(lora_bytes, 4 * tensor.nbytes // tensor.shape[0])
    return item.scan.zero_run >= (lora_bytes if ".lora_A." in tensor.name else page_bytes)


def _same(item: Scanned, other: Scanned) -> bool:
    mine, theirs = item.scan, other.scan
    return theirs.zero_run > 0 and abs(
        (mine.zero_run_at - item.tensor.offset) - (theirs.zero_run_at - other.tensor.offset)
    ) < 8 + abs(mine.zero_run - theirs.zero_run)


def _emptied(item: Scanned, others: list[Scanned]) -> bool:
    """Whether it is a lora_A of zeros, or another matrix of zeros (except lora_B) that is not zero in a neighbour."""
    name = item.tensor.name
    if not item.scan.all_zero or zeros_are_normal(item.tensor):
        return False
    if ".lora_A." in name:
        return True
    alike = [other for other in others if other.tensor.shape == item.tensor.shape]
    return not is_lora_b(name) and bool(alike) and not any(other.scan.all_zero for other in alike)


def _untrained_too_many(
    checkpoint: Checkpoint, scan: Mapping[str, FileScan], items: list[Scanned]
) -> Iterator[tuple[str, str]]:
    """Yield the zero ``lora_B`` of a shape if there are more of them than untrained parameters of that shape.

    Files in which all are zero are inactive adapters. A parameter that got a gradient has a second moment above 0, and
    its ``lora_B`` moved from zero. The optimizer keeps no names, so only numbers can be compared.
    """
    optimizer, layout = checkpoint.optional("optimizer"), checkpoint.optional("layout")
    path = layout.optimizer if layout else None
    if optimizer is None or path is None or path not in scan:
        return
    if never_learned(checkpoint):
        return
    second = [item for item in items if is_lora_b(item.tensor.name)]
    zero = [item for item in second if item.scan.all_zero]
    if not zero or optimizer.kind != "adam":
        return
    spans = scan[path].spans
    trained: Counter[tuple[int, ...]] = Counter()
    for entry in optimizer.state.values():
        moment = entry.get("exp_avg_sq")
        if isinstance(moment, TensorRef):
            found = spans.get(f"data/{moment.storage}")
            if found is not None and not found.all_zero:
                trained[moment.shape] += 1
    saved = Counter(item.tensor.shape for item in items)
    active = {item.file for item in second if not item.scan.all_zero}
    for item in zero:
        shape = item.tensor.shape
        filled = saved[shape] - sum(other.tensor.shape == shape for other in zero)
        if item.file in active and trained[shape] > filled:
            yield item.tensor.name, item.file
