"""optimizer/unchanged."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, FileScan, Layout, NotApplicable, Severity, Violation, rule
from audit_rules._scans import was_read
from audit_rules._updates import OVERFLOWS, overwritten, uses_fp16

if TYPE_CHECKING:
    from audit.plugin import OptimizerState


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from that older checkpoint; this is its optimizer state, not that of this step.",
    explained_by=("steps/directory-mismatch",),
)
def unchanged(
    checkpoint: Checkpoint, layout: Layout, optimizer: "OptimizerState", scan: Mapping[str, FileScan]
) -> Iterator[Violation]:
    """The optimizer state is byte for byte that of an older checkpoint.

    Every update changes it, even at learning rate 0, so the file is stale or was copied. A resume would use the
    learning rate and the moments of the older step.

    Not checked: optimizers without any state (plain SGD with a constant rate writes the same file again), and
    neighbours within a few steps of fp16 whose weights are the same, too: the gradient scaler skipped every update.
    """
    path = layout.optimizer
    if path is None or not was_read(scan, path):
        raise NotApplicable("the optimizer state could not be read completely")
    if not any(optimizer.state.values()):
        raise NotApplicable("this optimizer keeps no state")
    for older in reversed(checkpoint.with_same_bytes(path, older=True)):
        if overwritten(older):
            continue
        steps = checkpoint.step - older.step
        if not _skipped(checkpoint, steps, layout, scan, older.scan):
            yield Violation(
                f"{path} is byte for byte that of {older.name}, {steps} steps earlier",
                file=path,
                expected="a different state at every step",
                actual=f"that of {older.name}",
            )
            return
    if not any(_was_read(older, path) for older in _older(checkpoint)):
        raise NotApplicable("no older optimizer state was read")


def _older(checkpoint: Checkpoint) -> Iterator[Checkpoint]:
    """The judged checkpoints of earlier steps, the nearest first."""
    older = checkpoint.neighbours[0]
    while older is not None:
        if older.step < checkpoint.step:
            yield older
        older = older.neighbours[0]


def _was_read(checkpoint: Checkpoint, path: str) -> bool:
    return was_read(checkpoint.optional("scan") or {}, path) and not overwritten(checkpoint)


def _skipped(
    checkpoint: Checkpoint,
    steps: int,
    layout: Layout,
    scan: Mapping[str, FileScan],
    other: Mapping[str, FileScan],
) -> bool:
    """Say whether an fp16 scaler may have skipped all updates: then the weights are the same, too."""
    return (
        steps <= OVERFLOWS
        and uses_fp16(checkpoint)
        and all(file in scan and file in other and scan[file].digest == other[file].digest for file in layout.weights)
    )
