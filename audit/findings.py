"""The values that rules and reports speak in: severities, outcomes, violations, findings."""

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from itertools import groupby, islice
from typing import NamedTuple, overload

Evidence = str | int | float | bool | None
"""What was expected, or found."""

ACCEPTED = "accepted"
"""The word for a finding that a person has judged and accepted."""


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
    the place in the log, if the violation is in a curve and not in the checkpoint as a whole.
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


class Acceptance(NamedTuple):
    """A person accepts the findings of ``rule`` at a place for a ``reason``; see :mod:`audit.judging.acceptance`.

    The place is a ``checkpoint``'s name or a ``step``; without either it is the run as a whole. ``until`` is the last
    day (2026-11-21) on which it counts, None: for ever.
    """

    rule: str
    checkpoint: str | None
    step: int | None
    reason: str
    until: str | None = None


class Finding(NamedTuple):
    """One violation in a report.

    ``accepted``: why a person accepts it; it then counts neither for the verdict nor for the exit code. None: nobody
    does.
    """

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
    accepted: str | None = None

    @property
    def word(self) -> str:
        """What reports call it: ``accepted``, or its severity."""
        return self.severity.value if self.accepted is None else ACCEPTED


class RuleOutcome(NamedTuple):
    """One line of a report's ``outcomes``: what became of ``rule`` on ``checkpoint`` (None: the run)."""

    rule: str
    checkpoint: str | None
    outcome: Outcome
    reason: str | None = None


class RuleOutcomes(Sequence[RuleOutcome]):
    """The outcomes of a report: of the run, then of each checkpoint by step, each sorted by rule; made when asked for.

    A run of 20 000 checkpoints has more than a million outcomes and few different ones, so what is kept are ``rows``: a
    checkpoint's name (None: the run), and outcomes without it, which many rows share.
    """

    __slots__ = ("_length", "rows")

    def __init__(self, rows: Iterable[tuple[str | None, tuple[RuleOutcome, ...]]]) -> None:
        shared: dict[tuple[RuleOutcome, ...], tuple[RuleOutcome, ...]] = {}
        self.rows = tuple((name, shared.setdefault(said, said)) for name, said in rows)
        self._length = sum(len(said) for _, said in self.rows)

    @classmethod
    def of(cls, outcomes: Sequence[RuleOutcome]) -> "RuleOutcomes":
        """Return outcomes as rows, in the same order."""
        if isinstance(outcomes, cls):
            return outcomes
        groups = groupby(outcomes, key=lambda item: item.checkpoint)
        return cls((name, tuple(item._replace(checkpoint=None) for item in said)) for name, said in groups)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[RuleOutcome]:
        for name, said in self.rows:
            for item in said:
                yield RuleOutcome(item.rule, name, item.outcome, item.reason)

    @overload
    def __getitem__(self, index: int) -> RuleOutcome: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[RuleOutcome, ...]: ...

    def __getitem__(self, index: int | slice) -> RuleOutcome | tuple[RuleOutcome, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        place = index + self._length if index < 0 else index
        if not 0 <= place < self._length:
            raise IndexError(index)
        return next(islice(self, place, None))

    def of_kind(self, outcome: Outcome) -> Iterator[RuleOutcome]:
        """Those of one kind, in order."""
        found: dict[int, list[RuleOutcome]] = {}
        for name, said in self.rows:
            if id(said) not in found:
                found[id(said)] = [item for item in said if item.outcome is outcome]
            for item in found[id(said)]:
                yield RuleOutcome(item.rule, name, item.outcome, item.reason)

    def count_of(self, outcome: Outcome) -> int:
        """Number of those of one kind."""
        counts: dict[int, int] = {}
        for _, said in self.rows:
            if id(said) not in counts:
                counts[id(said)] = sum(item.outcome is outcome for item in said)
        return sum(counts[id(said)] for _, said in self.rows)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, RuleOutcomes):
            return self.rows == other.rows
        return tuple(self) == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))
