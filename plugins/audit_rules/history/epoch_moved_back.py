"""history/epoch-moved-back."""

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, NotApplicable, Severity, Violation, rule, tail
from audit_rules._entries import fresh_series
from audit_rules._more import and_more

if TYPE_CHECKING:
    from audit.plugin import History


@rule(
    Severity.INFO,
    remedy="Do nothing if the data was changed on purpose; otherwise compare the data of both sessions.",
    explained_by=("history/not-ascending",),
)
def epoch_moved_back(checkpoint: Checkpoint, history: "History") -> Iterator[Violation]:
    """The epoch in the log goes back while the steps continue: training was resumed on other data.

    Trainer computes the epoch from the number of batches in the current data, so it falls in a resume on a larger file,
    on a stream or with ``ignore_data_skip``. It is a sign of a resume (7 of 7 real cases), not a fault: steps, schedule
    and weights continue. Reported for the first checkpoint that shows it, and not if a leg of `audit train` begins
    there according to the ledger.
    """
    last = tail(history.base, "epoch", 1) if history.base is not None else []
    points = [*last, *fresh_series(history, "epoch")]
    if not points:
        raise NotApplicable("the log has no epochs")
    falls = [
        (before, after)
        for before, after in pairwise(points)
        if after.value < before.value and not checkpoint.run.records.batches.begins_between(before.step, after.step)
    ]
    if falls:
        before, after = falls[0]
        more = and_more(falls, ", and {} more times")
        yield Violation(
            f"The epoch goes back from {before.value:g} to {after.value:g} after step {before.step}{more}: "
            "training was resumed on other data",
            file=checkpoint.backend.state_file,
            expected=before.value,
            actual=after.value,
            step=before.step,
        )
