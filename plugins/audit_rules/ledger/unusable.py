"""ledger/unusable."""

from collections.abc import Iterator

from audit.plugin import LEDGER, Run, Severity, Violation, rule


@rule(
    Severity.WARNING,
    remedy="Upgrade checkpoint-audit, or move .audit/ledger.db away to start a new ledger and seal the checkpoints again.",
)
def unusable(run: Run) -> Iterator[Violation]:
    """The run's ledger cannot be read, so seals and the steps reached before are unknown.

    It is damaged, of a newer version, locked, a link, or not a ledger. What the files of the checkpoints show is judged
    all the same.
    """
    if run.records.unusable:
        yield Violation(f"The ledger could not be used: {run.records.unusable}", file=LEDGER)
