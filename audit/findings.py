"""The values that rules and reports speak in: severities, outcomes, violations, findings."""

from enum import Enum
from typing import NamedTuple

Evidence = str | int | float | bool | None
"""What was expected, or found."""


class Severity(str, Enum):
    """How much a finding matters; see the contract in docs/architecture.md."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for info, 1 for warning, 2 for error."""
        return ("info", "warning", "error").index(self.value)


class Outcome(str, Enum):
    """What became of one rule on one checkpoint (or on the run): silence is not proof."""

    PASS = "pass"
    FAIL = "fail"
    NOT_APPLICABLE = "not-applicable"
    ERROR = "error"


class Violation(NamedTuple):
    """What a rule yields: place, message and evidence. The engine adds the rule's id and severity.

    ``checkpoint`` and ``file`` name the place; a rule over one checkpoint leaves ``checkpoint`` out, the engine
    fills it in. ``severity`` and ``blocks_resume`` are given only where they differ from the rule's own. ``step`` is
    the place in the log, where the violation lies in a curve and not in the checkpoint as a whole.
    """

    message: str
    file: str | None = None
    expected: Evidence = None
    actual: Evidence = None
    remedy: str | None = None
    checkpoint: str | None = None
    severity: Severity | None = None
    blocks_resume: bool | None = None
    step: int | None = None


class Finding(NamedTuple):
    """One violation in a report."""

    rule: str
    severity: Severity
    checkpoint: str | None
    file: str | None
    message: str
    expected: Evidence
    actual: Evidence
    remedy: str
    blocks_resume: bool
    step: int | None = None


class RuleOutcome(NamedTuple):
    """One line of a report's ``outcomes``: what became of ``rule`` on ``checkpoint`` (None: the run)."""

    rule: str
    checkpoint: str | None
    outcome: Outcome
    reason: str | None = None
