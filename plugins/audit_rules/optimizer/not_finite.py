"""optimizer/not-finite."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, FileScan, Layout, NotApplicable, Severity, Violation, rule
from audit_rules._scans import was_read
from audit_rules.optimizer._shared import moments, place_of

if TYPE_CHECKING:
    from audit.plugin import OptimizerState


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from the newest checkpoint whose optimizer state is finite.",
    explained_by=("weights/not-finite", "shards/damaged"),
)
def not_finite(checkpoint: Checkpoint, layout: Layout, scan: Mapping[str, FileScan]) -> Iterator[Violation]:
    """The optimizer state has NaN or infinite values.

    The first update after a resume carries them into the weights. Trainer then logs a loss of 0.0, because it filters
    NaN, and exits with code 0.

    The per-rank states of DeepSpeed are checked, too, by file. Under ZeRO 3 a parameter that the number of ranks does
    not divide is padded, and DeepSpeed 0.19 leaves in the padding whatever was in memory (``_partition_param``:
    ``torch.empty``); what is there is no finding.
    """
    looked = False
    optimizer: OptimizerState | None = checkpoint.optional("optimizer")
    by_file = [path for path in layout.sharded_optimizer if path.endswith(".pt")]
    if optimizer is not None and not by_file and (layout.optimizer is None or was_read(scan, layout.optimizer)):
        looked = True
        path = place_of(layout)
        broken = [item for item in moments(optimizer, layout, scan) if item.scan.nonfinite]
        if broken:
            parameters = {item.parameter for item in broken}
            first = broken[0]
            yield Violation(
                f"{path} has NaN or infinite values for {len(parameters)} of {len(optimizer.state)} "
                f"parameters, first in {first.key} of parameter {first.parameter}",
                file=path,
                expected=0,
                actual=len(parameters),
            )
    for path in by_file:
        if was_read(scan, path):
            looked = True
            found = [name for name, part in scan[path].spans.items() if part.nonfinite]
            count = len(found) - len(checkpoint.only_padding(path, found)) if found else 0
            if count:
                yield Violation(f"{path} has NaN or infinite values in {count} tensors", file=path, actual=count)
    if not looked:
        raise NotApplicable("there is no optimizer state that could be read completely")
