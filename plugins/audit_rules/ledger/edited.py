"""ledger/edited."""

from collections.abc import Iterator

from audit.plugin import LEDGER, Run, Severity, Violation, rule


@rule(
    Severity.ERROR,
    remedy="Find out who changed it, then move .audit/ledger.db away to start a new ledger.",
)
def edited(run: Run) -> Iterator[Violation]:
    """The ledger was changed: its rows are not those that were written.

    Rows are only ever added, and each has the BLAKE3 digest of the one before. A row that was changed, inserted or
    removed breaks the chain, and the ledger's seals and steps are then ignored. Rows missing at the end are found by
    `ledger/rows-missing`.
    """
    if run.records.edited:
        yield Violation(f"The ledger was edited: {run.records.edited}", file=LEDGER)
