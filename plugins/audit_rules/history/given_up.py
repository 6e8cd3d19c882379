"""history/given-up."""

from collections.abc import Iterator

from audit.plugin import Run, Severity, Violation, rule


@rule(
    Severity.ERROR,
    remedy="Move it away again with `audit quarantine RUN CHECKPOINT`, or take the run back to it: "
    "`audit train CONFIG --back-to CHECKPOINT`, which says whether that is possible.",
    blocks_resume=True,
)
def given_up(run: Run) -> Iterator[Violation]:
    """The run was taken back to an earlier checkpoint, and this one, which was given up then, is in it again.

    `audit train --back-to` moves what it gives up to quarantine: it may have been trained on a file that was dropped
    because it is poisoned. `audit quarantine --restore`, or a copy from a backup, puts it back into the run, where it
    is the newest one, and a resume takes it. The ledger records the going back; a checkpoint of that name counts as
    given up if no file of it was written since it was sealed before that. A copy with new times is not recognised.
    A going back that was killed leaves some of them in the run, sealed or not, and a pin: neither is handed out.
    """
    for checkpoint in run.given_up:
        returning = run.records.batches.returning
        back = returning.checkpoint if returning is not None else run.records.given_up[checkpoint.name]
        there = "and is in the run again" if returning is None else "which was interrupted: audit train finishes it"
        yield Violation(
            f"{checkpoint.name} was given up when the run went back to {back}, {there}",
            checkpoint=checkpoint.name,
        )
