"""What several rules on weights need: the scan of each tensor, and whether anything could have been learned."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from audit.plugin import Checkpoint, FileScan, NotApplicable, SpanScan, Tensor, WholeTensor
from audit_rules._scans import was_read
from audit_rules._updates import OVERFLOWS, updates, uses_fp16


class Scanned(NamedTuple):
    """One tensor of a weight file and what the scan found in it."""

    file: str
    tensor: Tensor
    scan: SpanScan


def scanned(checkpoint: Checkpoint, scan: Mapping[str, FileScan]) -> Iterator[Scanned]:
    """Yield every tensor of the weights that was read completely, of sharded weights every chunk.

    Raises NotApplicable if no file was.
    """
    looked = False
    chunks: Mapping[str, WholeTensor] = checkpoint.optional("sharded_weights") or {}
    for whole in chunks.values():
        for chunk in whole.parts:
            if was_read(scan, chunk.path):
                looked = True
                part = scan[chunk.path].spans.get(chunk.span)
                if part is not None and part.complete:
                    yield Scanned(chunk.path, chunk.tensor, part)
    for weights in checkpoint.optional("weights") or () if chunks else checkpoint.weights:
        if not was_read(scan, weights.file):
            continue
        found = scan[weights.file]
        file = checkpoint.files[weights.file]
        looked = True
        for tensor in weights.tensors.values():
            part = found.spans.get(file.span_name(tensor.name))
            if part is not None and part.complete:
                yield Scanned(weights.file, tensor, part)
    if not looked:
        raise NotApplicable("the weights could not be read completely")


def shapes_of(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of the weights, of sharded ones as a whole. Raises NotApplicable if none is read."""
    chunks: Mapping[str, WholeTensor] = checkpoint.optional("sharded_weights") or {}
    if chunks:
        return {name: whole.shape for name, whole in chunks.items()}
    return {name: tensor.shape for part in checkpoint.weights for name, tensor in part.tensors.items()}


def is_lora_b(name: str) -> bool:
    """Say whether a tensor is the second matrix of a LoRA pair, which starts at zero; ``lora_embedding_B`` does not."""
    return ".lora_B." in name


def idle(older: Checkpoint, newer: Checkpoint) -> str | None:
    """Say why the weights may be unchanged from one checkpoint to the next, or None if some must have changed.

    The first step after a save or a resume is trained at the rate in ``scheduler.pt`` (Trainer 5.23: the schedule of
    new arguments takes effect from the second step), so for a single step that rate decides.
    """
    steps = newer.step - older.step
    if steps <= OVERFLOWS and uses_fp16(newer) and updates(older) == updates(newer):
        return "every update since was skipped by the fp16 gradient scaler"
    before, after = _rates(older), _rates(newer)
    if before is not None and any(before):
        return None
    if before is not None and steps == 1:
        return "the one step since was trained at learning rate 0"
    logged = _logged(older, newer)
    if any(logged) or (after is not None and any(after)):
        return None
    if before is None and after is None and not logged:
        return "the learning rate since is not known"
    return "the learning rate since was 0"


def _rates(checkpoint: Checkpoint) -> list[float] | None:
    scheduler = checkpoint.optional("scheduler")
    return scheduler.last_lr if scheduler is not None else None


def _logged(older: Checkpoint | None, newer: Checkpoint) -> list[float]:
    """The learning rates that were logged after ``older``, newest first, without reading the whole history."""
    history = newer.optional("history")
    first = older.step if older is not None else 0
    found: list[float] = []
    while history is not None:
        for entry in reversed(history.own):
            rate, step = entry.get("learning_rate"), entry.get("step")
            if type(step) is int and step <= first:
                return found
            if type(rate) in (int, float) and type(step) is int and step <= newer.step:
                found.append(rate)
        history = history.base
    return found


def _ever_learned(checkpoint: Checkpoint) -> bool | None:
    """Say whether a learning rate above 0 was ever used, None if unknown; stops at the first."""
    rates = _rates(checkpoint)
    if rates is not None and any(rates):
        return True
    known = bool(rates)
    for entry in checkpoint.optional("history") or ():
        rate = entry.get("learning_rate")
        if type(rate) in (int, float):
            known = True
            if rate:
                return True
    return False if known else None


def never_learned(checkpoint: Checkpoint) -> str | None:
    """Say why the weights may still be the initial ones, or None if updates were made."""
    if checkpoint.step <= 1:
        return "the first step of a warm-up is trained at learning rate 0"
    if checkpoint.step <= OVERFLOWS and uses_fp16(checkpoint) and not updates(checkpoint):
        return "every update so far was skipped by the fp16 gradient scaler"
    if _ever_learned(checkpoint) is False:
        return "the learning rate was 0 so far"
    return None


def shown(names: list[str], most: int = 3) -> str:
    """Return a list of names for a message, shortened."""
    listed = ", ".join(names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"
