"""ledger/unusable."""

from collections.abc import Iterator

from audit.plugin import LEDGER, Run, Severity, Violation, rule


@rule(
    Severity.WARNING,
    remedy="Upgrade checkpoint-audit, or move .audit/ledger.db away: a new ledger begins, and checkpoints are sealed anew.",
)
def unusable(run: Run) -> Iterator[Violation]:
    """The run's ledger cannot be read, so seals and the steps reached before are unknown.

    It is damaged, of a newer version, locked, a link, or no ledger of ours. Everything that the checkpoints' own files
    show is judged all the same.
    """
    if run.records.unusable:
        yield Violation(f"The ledger could not be used: {run.records.unusable}", file=LEDGER)
