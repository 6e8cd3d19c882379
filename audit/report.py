"""The finished judgement of one run: values, no behaviour beyond counting."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from audit.findings import Finding, Outcome, RuleOutcome, RuleOutcomes, Severity

SOUND, SUSPECT, BROKEN = "sound", "suspect", "broken"
"""Verdicts of a :class:`Report`: no finding, warnings, errors."""


RESUMABLE = "resumable"
BY_STRUCTURE = "resumable by structure"
"""The word for a checkpoint of which no byte of the weights was read."""


def in_words(state: str, by_structure: bool) -> str:
    """Return the state of a checkpoint for people: another word where it rests on the structure of the files alone."""
    return BY_STRUCTURE if by_structure and state == RESUMABLE else state


class CheckpointSummary(NamedTuple):
    """One checkpoint of the run; ``step`` is the N of its name, ``bytes`` the size of its files.

    Not ``judged``: nothing blocks a resume from it, but files that a resume reads were not read, so nothing is proven.
    ``by_structure``: what is said of it rests on the structure of its files alone; its bytes were not read since they
    were last touched.
    """

    name: str
    step: int
    resumable: bool
    sealed: bool
    files: int
    bytes: int
    judged: bool = True
    by_structure: bool = False

    @property
    def word(self) -> str:
        """What a row says of it: ``resumable``, ``resumable by structure``, ``not judged`` or ``not resumable``."""
        if not self.resumable:
            return "not resumable"
        if not self.judged:
            return "not judged"
        return in_words(RESUMABLE, self.by_structure)


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
    """What could not be recorded, and why, and which acceptances did not count: the verdict holds all the same."""
    pinned: str | None = None
    """The name of a checkpoint whose pinned copy is resumable and newer than ``resume_from``; the guard takes it."""

    def count(self, severity: Severity) -> int:
        """Number of findings of this severity that nobody has accepted."""
        return sum(finding.severity is severity for finding in self.counting)

    @property
    def counting(self) -> Iterator[Finding]:
        """The findings that nobody has accepted: those that make the verdict."""
        return (finding for finding in self.findings if finding.accepted is None)

    @property
    def accepted(self) -> int:
        """Number of findings that a person has accepted."""
        return sum(finding.accepted is not None for finding in self.findings)

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
        """The verdict; of a sound run it says what was not read.

        ``sound as far as read`` if a checkpoint is not judged, ``sound by structure`` if bytes of one were not read.
        """
        if self.verdict != SOUND:
            return self.verdict
        if not all(item.judged for item in self.checkpoints):
            return f"{SOUND} as far as read"
        return f"{SOUND} by structure" if any(item.by_structure for item in self.checkpoints) else SOUND

    @property
    def resume_is_judged(self) -> bool:
        """Whether the checkpoint to resume from is judged."""
        return all(item.judged for item in self.checkpoints if item.name == self.resume_from)

    @property
    def doubts(self) -> tuple[str, ...]:
        """The rules whose errors do not block the checkpoint to resume from, but should be looked at before.

        They are against it, against the run, or at a place in its log.
        """
        errors = (item for item in self.counting if item.severity is Severity.ERROR and not item.blocks_resume)
        found = (item for item in errors if item.checkpoint in (self.resume_from, None) or item.step is not None)
        return tuple(dict.fromkeys(item.rule for item in found)) if self.resume_from else ()

    @property
    def resume_in_words(self) -> str:
        """The sentence on what to resume from."""
        if not self.checkpoints:
            return "Nothing has been trained here yet."
        first = f"look at {' and '.join(self.doubts)} first" if self.doubts else ""
        if self.pinned is not None:
            own = (
                f"newer than {self.resume_from}" if self.resume_from else "no checkpoint of the run itself is resumable"
            )
            return f"Resume from the pinned copy of {self.pinned} ({own}){f'; {first}' if first else ''}."
        if self.resume_from is None:
            return "No checkpoint can be resumed from."
        item = next(item for item in self.checkpoints if item.name == self.resume_from)
        but = ", judged by its structure alone" if item.by_structure else ""
        name = f"{item.name}{but if item.judged else ', which is not judged'}"
        return f"The newest resumable checkpoint is {name}; {first}." if first else f"Resume from {name}."

    @property
    def files(self) -> int:
        """Number of files in all checkpoints."""
        return sum(checkpoint.files for checkpoint in self.checkpoints)

    @property
    def crashed(self) -> tuple[RuleOutcome, ...]:
        """Outcomes of rules that crashed: the audit is then incomplete, whatever the verdict says."""
        return tuple(RuleOutcomes.of(self.outcomes).of_kind(Outcome.ERROR))

    def reaches(self, threshold: Severity) -> bool:
        """Say whether a finding that nobody has accepted is at or above this severity."""
        return any(finding.severity.rank >= threshold.rank for finding in self.counting)
