"""steps/no-progress."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import LEDGER, NotApplicable, Run, Severity, Violation, rule

if TYPE_CHECKING:
    from audit.plugin import Timeline


@rule(
    Severity.ERROR,
    remedy="Let the trainer go to more steps than were done before: a cumulative max_steps, not num_train_epochs of one file; "
    "then train the batch again.",
)
def no_progress(run: Run, batches: "Timeline") -> Iterator[Violation]:
    """A batch was trained without a single step: its examples were never seen.

    Trainer 5.23 with ``num_train_epochs=1``: resumed from a checkpoint, the epochs are done already, so the second
    batch trains nothing, saves nothing new, and exits with 0. It looks like success, and a script then deletes the
    data.

    Told by the ledger of `audit train`, of the batch that was trained last: its leg came to its end at the step where
    the batch began, and the data file holds examples. A batch that is being trained, was stopped or crashed is not
    judged.
    """
    last = batches.batches[-1]
    failed = last.state == "failed"
    if not last.trained and not (failed and last.kind == "no-progress"):
        raise NotApplicable(f"the last batch, {last.file}, has not come to its end")
    if batches.legs[-1].over:
        raise NotApplicable(f"the last batch, {last.file}, was given up knowingly")
    if last.examples == 0:
        raise NotApplicable(f"the last batch, {last.file}, holds no examples")
    begun = last.step if failed else last.first_step
    if last.step <= begun:
        many = f"{last.examples} examples" if last.examples is not None else "examples"
        part = " of the rest" if begun > last.first_step else ""
        yield Violation(
            f"The batch {last.file} was trained without a single step{part}: the run is still at step {last.step}, "
            f"though the file holds {many}",
            file=LEDGER,
            expected=f"more than {begun} steps",
            actual=last.step,
            step=last.step,
        )
