"""ledger/rows-missing."""

from collections.abc import Iterator

from audit.plugin import LEDGER, Run, Severity, Violation, rule


@rule(
    Severity.ERROR,
    remedy="Find out who cut or replaced .audit/ledger.db; restore it from a backup, or move the whole .audit away and verify anew.",
)
def rows_missing(run: Run) -> Iterator[Violation]:
    """The ledger has lost rows: its end was cut off, or it was deleted and begun anew.

    A chain of digests cannot show what was cut off at its end. But a pin, a file of checksums or a signature in
    `.audit/seals` and a remembered scan are made only of a checkpoint whose seal or scan is a row: if that row is not
    there, seals and steps that the ledger had are not known any more, and a checkpoint that was replaced since looks
    untouched.
    """
    if run.records.lost:
        yield Violation(f"The ledger is not whole: {run.records.lost}", file=LEDGER)
