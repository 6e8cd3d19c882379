"""ledger/edited."""

from collections.abc import Iterator

from audit.plugin import LEDGER, Run, Severity, Violation, rule


@rule(
    Severity.ERROR,
    remedy="Find out who changed it; then move .audit/ledger.db away, and a new ledger begins.",
)
def edited(run: Run) -> Iterator[Violation]:
    """The ledger's rows are not what was written: somebody changed the run's history.

    Rows are only ever added, and each carries the BLAKE3 digest of the one before. A row that was changed, put in or
    taken out of the middle breaks the chain. Its seals and steps are not believed. What was cut off at the end is found
    by `ledger/rows-missing`.
    """
    if run.records.edited:
        yield Violation(f"The ledger was edited: {run.records.edited}", file=LEDGER)
