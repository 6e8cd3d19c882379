"""weights/unchanged."""

import re
from collections.abc import Iterator, Mapping

from audit.plugin import Checkpoint, FileScan, Layout, NotApplicable, Severity, Violation, rule
from audit_rules._neighbours import AFTER, BEFORE, beside
from audit_rules._scans import was_read
from audit_rules._updates import late, overwritten
from audit_rules.weights._shared import idle, shown


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from that older checkpoint; these are its weights, not those of this step.",
    compares_all=True,
    explained_by=(
        "steps/directory-mismatch",
        "weights/not-finite",
        "weights/hollow",
        "adapter/shape-mismatch",
        "shards/stale",
    ),
)
def unchanged(checkpoint: Checkpoint, layout: Layout, scan: Mapping[str, FileScan]) -> Iterator[Violation]:
    """The weights are byte for byte those of an older checkpoint.

    Training changes them with every update, so the file is stale or was copied. A resume would combine old weights with
    the moments and the schedule of a later step; only the digest shows it.

    The older one is the copy if its file is later than its own trainer state, which is written last; otherwise the
    newer one is.

    One file of several (a shard, an adapter) counts alone only if the optimizer trains every saved tensor: a frozen
    shard and an inactive adapter legitimately stay the same. So does the second model of accelerate if it changed in
    the save before, while the optimizer of the same number went on. Not checked if nothing could be learned in between:
    learning rate 0, the first step after a schedule that had reached 0, updates that the fp16 scaler skipped.
    """
    mine = _digests(layout, scan)
    if not mine:
        raise NotApplicable("there are no weights that could be read completely")
    reason = None
    if not any(item.step != checkpoint.step and item.optional("scan") is not None for item in _others(checkpoint)):
        raise NotApplicable("no other checkpoint was read")
    for older, newer, other, scans in _pairs(checkpoint, mine):
        theirs = _digests(other.layout, scans) if other.optional("layout") else {}
        same = [file for file, digest in mine.items() if theirs.get(file) == digest]
        if not same or overwritten(older):
            continue
        if len(same) < len(mine) and not _everything_trains(checkpoint):
            same = [file for file in same if _trains_by_itself(older, newer, file)]
            if not same:
                continue
        if (late(older, same[0]) and not late(newer, same[0])) != (checkpoint is older):
            continue  # the copy is in the other one
        reason = idle(older, newer)
        if reason is None:
            steps = abs(checkpoint.step - other.step)
            yield Violation(
                f"{shown(same)} is byte for byte that of {other.name}, {steps} steps "
                + ("earlier" if other is older else "later"),
                file=same[0],
                expected="different weights at every step",
                actual=f"those of {other.name}",
            )
            return
    if reason:
        raise NotApplicable(reason)


def _others(checkpoint: Checkpoint) -> Iterator[Checkpoint]:
    """The other judged checkpoints: older ones, the nearest first, then younger ones."""
    for side in (BEFORE, AFTER):
        yield from beside(checkpoint, side)


def _pairs(
    checkpoint: Checkpoint, digests: Mapping[str, str]
) -> Iterator[tuple[Checkpoint, Checkpoint, Checkpoint, Mapping[str, FileScan]]]:
    """Yield (older, newer, the other, its scan) for each checkpoint that shares a file, the nearest older first."""
    sharing = {
        item.name: item for path in digests for item in checkpoint.with_same_bytes(path) if item is not checkpoint
    }
    for other in sorted(sharing.values(), key=lambda item: (item.step > checkpoint.step, -item.step)):
        scans = other.optional("scan") if other.step != checkpoint.step else None
        if scans is not None:
            older, newer = sorted((checkpoint, other), key=lambda item: item.step)
            yield older, newer, other, scans


def _digests(layout: Layout, scan: Mapping[str, FileScan]) -> dict[str, str]:
    paths = layout.weights or tuple(path for path in layout.sharded_weights if path.endswith(".distcp"))
    return {path: scan[path].digest for path in paths if was_read(scan, path)}


_NUMBERED = re.compile(r"(?:model|pytorch_model)(_[0-9]{1,4})?\.(?:safetensors|bin)", re.ASCII)
"""The models that accelerate saves, by their number; ``optimizer_1.bin`` is the second optimizer."""


def _trains_by_itself(older: Checkpoint, newer: Checkpoint, file: str) -> bool:
    """Say whether a model of several was trained between two checkpoints: it has an optimizer, which went on.

    accelerate 1.15 numbers models and optimizers in the order in which they were prepared. A model that is frozen, from
    the beginning or from some step on, has an optimizer that stays the same, or did not change before either.
    """
    number = _NUMBERED.fullmatch(file)
    if number is None or newer.backend.arguments_file:
        return False
    optimizer = f"optimizer{number[1] or ''}.bin"
    scans = [item.optional("scan") if item is not None else None for item in (older.neighbours[0], older, newer)]
    digests = [
        (scan[file].digest, scan[optimizer].digest)
        for scan in scans
        if scan is not None and was_read(scan, file) and was_read(scan, optimizer)
    ]
    return len(digests) == 3 and digests[0][0] != digests[1][0] and digests[1][1] != digests[2][1]


def _everything_trains(checkpoint: Checkpoint) -> bool:
    """Say whether the optimizer has one parameter for each tensor saved, all of them in single precision.

    In half precision a file of normalisation weights may stay the same: the updates are below its precision.
    """
    optimizer, weights = checkpoint.optional("optimizer"), checkpoint.optional("weights")
    sharded = checkpoint.optional("sharded_weights") or {}
    if optimizer is None or (weights is None and not sharded):
        return False
    single = [tensor for file in weights or () for tensor in file.tensors.values()]
    types = [tensor.dtype for tensor in (*single, *sharded.values())]
    trained = sum(len(group["params"]) for group in optimizer.groups)
    return trained == len(types) and all(dtype == "F32" for dtype in types)
