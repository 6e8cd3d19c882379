"""ledger/rows-missing."""

from collections.abc import Iterator

from audit.plugin import LEDGER, Run, Severity, Violation, rule


@rule(
    Severity.ERROR,
    remedy="Find out who truncated or replaced .audit/ledger.db; restore it from a backup, or move .audit away and verify again.",
)
def rows_missing(run: Run) -> Iterator[Violation]:
    """The ledger has lost rows: its end was cut off, or it was deleted and started again.

    A chain of digests cannot show what was cut off at its end. But a pin, a checksum file or a signature in
    `.audit/seals`, and a remembered scan, exist only for a checkpoint whose seal or scan is a row. If that row is
    missing, seals and steps that the ledger had are lost, and a checkpoint that was replaced since looks unchanged.
    """
    if run.records.lost:
        yield Violation(f"The ledger is incomplete: {run.records.lost}", file=LEDGER)
