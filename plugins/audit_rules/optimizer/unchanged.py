"""optimizer/unchanged."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, FileScan, Layout, NotApplicable, Severity, Violation, rule
from audit_rules._neighbours import older
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
    for before in reversed(checkpoint.with_same_bytes(path, older=True)):
        if overwritten(before):
            continue
        steps = checkpoint.step - before.step
        if not _skipped(checkpoint, steps, layout, scan, before.scan):
            yield Violation(
                f"{path} is byte for byte that of {before.name}, {steps} steps earlier",
                file=path,
                expected="a different state at every step",
                actual=f"that of {before.name}",
            )
            return
    if not any(_was_read(before, path) for before in older(checkpoint)):
        raise NotApplicable("no older optimizer state was read")


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
