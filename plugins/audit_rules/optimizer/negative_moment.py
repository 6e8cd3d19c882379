"""optimizer/negative-moment."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, FileScan, Layout, NotApplicable, Severity, Violation, rule
from audit_rules.optimizer._shared import moments, place_of, tensors

if TYPE_CHECKING:
    from audit.plugin import OptimizerState

SQUARES = ("exp_avg_sq", "max_exp_avg_sq", "exp_avg_sq_row", "exp_avg_sq_col", "square_avg", "sum")
"""Averages and sums of squares: Adam, AMSGrad, Adafactor, RMSprop, Adagrad."""


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint; this file was damaged after it was written.",
    explained_by=("integrity/archive", "shards/damaged", "deepspeed/stale-partition"),
)
def negative_moment(
    checkpoint: Checkpoint, layout: Layout, optimizer: "OptimizerState", scan: Mapping[str, FileScan]
) -> Iterator[Violation]:
    """A second moment of the optimizer is below zero.

    It is an average of squares. The next update takes its square root, which is NaN, and one update later all weights
    are NaN. A flipped sign bit causes this; the optimizer never does.
    """
    read, path = moments(optimizer, layout, scan), place_of(layout)
    others = {ref.storage for _, key, ref in tensors(optimizer) if key not in SQUARES}
    squares = [item for item in read if item.key in SQUARES and item.ref.storage not in others]
    if not squares:
        raise NotApplicable("this optimizer keeps no averages of squares")
    negative = [item for item in squares if item.scan.negative]
    if negative:
        first = negative[0]
        yield Violation(
            f"{path} has values below zero in {len(negative)} of {len(squares)} second moments, "
            f"first in {first.key} of parameter {first.parameter}",
            file=path,
            expected="at least 0",
            actual=len(negative),
        )
