"""loss/not-finite."""

from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, NotApplicable, Severity, Violation, rule, tail
from audit_rules._entries import fresh_series
from audit_rules._more import and_more

if TYPE_CHECKING:
    from audit.plugin import History


@rule(
    Severity.ERROR,
    remedy="Go back to a checkpoint before that step, and lower the learning rate or look at its data.",
)
def not_finite(checkpoint: Checkpoint, history: "History") -> Iterator[Violation]:
    """The training loss is NaN or infinite.

    One such step without an fp16 gradient scaler makes the weights NaN permanently. Trainer hides it by default
    (``logging_nan_inf_filter``; the sign is then loss/vanished), so a logged NaN means that the filter was off.

    A ``grad_norm`` of NaN or Infinity on isolated fp16 steps is legal: the scaler skips those steps. Reported only for
    the first checkpoint that shows it.
    """
    points = fresh_series(history, "loss")
    if not points:
        raise NotApplicable("no training loss was logged since the previous checkpoint")
    bad = [point for point in points if not isfinite(point.value)]
    if not bad:
        return
    before = tail(history.base, "loss", 1) if history.base is not None and points[0] is bad[0] else []
    if before and not isfinite(before[0].value):
        raise NotApplicable("the loss was not finite before, which is reported for an earlier checkpoint")
    more = and_more(bad, " and {} more logged losses of this checkpoint are not finite")
    yield Violation(
        f"The loss is {bad[0].value} at step {bad[0].step}{more}",
        file=checkpoint.backend.state_file,
        expected="a finite number",
        actual=str(bad[0].value),
        step=bad[0].step,
    )
