"""The finished judgement of one run: values, no behaviour beyond counting."""

from collections.abc import Sequence
from typing import NamedTuple

from audit.findings import Finding, Outcome, RuleOutcome, RuleOutcomes, Severity

SOUND, SUSPECT, BROKEN = "sound", "suspect", "broken"
"""Verdicts of a :class:`Report`: no finding, warnings, errors."""


class CheckpointSummary(NamedTuple):
    """One checkpoint of the run; ``step`` is the N of its name, ``bytes`` the size of its files.

    Not ``judged``: nothing blocks a resume from it, but files that a resume reads were not read, so nothing is proven.
    """

    name: str
    step: int
    resumable: bool
    sealed: bool
    files: int
    bytes: int
    judged: bool = True


class Report(NamedTuple):
    """Everything that a reporter may show about one run."""

    path: str
    backend: str | None
    latest_step: int | None
    save_total_limit: int | None
    resume_from: str | None
    checkpoints: tuple[CheckpointSummary, ...]
    findings: tuple[Finding, ...]
    outcomes: Sequence[RuleOutcome]
    depth: str
    bytes_read: int
    seconds: float
    notes: tuple[str, ...] = ()
    """What could not be recorded, and why: the verdict holds all the same."""

    def count(self, severity: Severity) -> int:
        """Number of findings of this severity."""
        return sum(finding.severity is severity for finding in self.findings)

    def tally(self, outcome: Outcome) -> int:
        """Number of outcomes of this kind."""
        return RuleOutcomes.of(self.outcomes).count_of(outcome)

    @property
    def verdict(self) -> str:
        """``broken`` with an error, ``suspect`` with a warning, else ``sound``."""
        if self.count(Severity.ERROR):
            return BROKEN
        return SUSPECT if self.count(Severity.WARNING) else SOUND

    @property
    def verdict_for_people(self) -> str:
        """The verdict, but ``sound as far as read`` if a checkpoint is not judged."""
        judged = all(item.judged for item in self.checkpoints)
        return self.verdict if judged or self.verdict != SOUND else f"{SOUND} as far as read"

    @property
    def resume_is_judged(self) -> bool:
        """Whether the checkpoint to resume from is judged."""
        return all(item.judged for item in self.checkpoints if item.name == self.resume_from)

    @property
    def files(self) -> int:
        """Number of files in all checkpoints."""
        return sum(checkpoint.files for checkpoint in self.checkpoints)

    @property
    def crashed(self) -> tuple[RuleOutcome, ...]:
        """Outcomes of rules that crashed: the audit is then incomplete, whatever the verdict says."""
        return tuple(RuleOutcomes.of(self.outcomes).of_kind(Outcome.ERROR))

    def reaches(self, threshold: Severity) -> bool:
        """Say whether a finding is at or above this severity."""
        return any(finding.severity.rank >= threshold.rank for finding in self.findings)
