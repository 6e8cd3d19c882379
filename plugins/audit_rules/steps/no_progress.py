"""steps/no-progress."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import LEDGER, NotApplicable, Run, Severity, Violation, rule

if TYPE_CHECKING:
    from audit.plugin import Timeline


@rule(
    Severity.ERROR,
    remedy="Set a cumulative max_steps above the steps done so far, instead of num_train_epochs of one file; then train the "
    "batch again.",
)
def no_progress(run: Run, batches: "Timeline") -> Iterator[Violation]:
    """A batch was trained without a single step: its examples were never seen.

    Trainer 5.23 with ``num_train_epochs=1``: after a resume the epochs are already done, so the second batch trains
    nothing, saves nothing new, and exits with 0. It looks like a success, and a script then deletes the data.

    Checked for the last batch in the ledger of `audit train`: its leg ended at the step where the batch began, although
    the data file has examples. A batch that is being trained, was stopped or crashed is not checked.
    """
    last = batches.batches[-1]
    failed = last.state == "failed"
    if not last.trained and not (failed and last.kind == "no-progress"):
        raise NotApplicable(f"the last batch, {last.file}, is not finished")
    if batches.legs[-1].over:
        raise NotApplicable(f"the last batch, {last.file}, was skipped on purpose")
    if last.examples == 0:
        raise NotApplicable(f"the last batch, {last.file}, has no examples")
    begun = last.step if failed else last.first_step
    if last.step <= begun:
        many = f"{last.examples} examples" if last.examples is not None else "examples"
        part = " of the rest" if begun > last.first_step else ""
        yield Violation(
            f"The batch {last.file} was trained without a single step{part}: the run is still at step {last.step}, "
            f"although the file has {many}",
            file=LEDGER,
            expected=f"more than {begun} steps",
            actual=last.step,
            step=last.step,
        )
