"""What a page gets of one run: its curves, legs and checkpoints, and where on the axis each finding is; and of a fleet.

Values only: how they look is for whoever renders them (``audit_pages`` in :mod:`audit.hookspecs`).
"""

import os
import stat
from contextlib import suppress
from typing import NamedTuple

from audit.facts.series import Point
from audit.findings import Finding
from audit.report import Report, in_words

_OURS = b"checkpoint audit</title>"
"""In the head of every page."""


class Curve(NamedTuple):
    """Numbers logged under ``key``, by step, each step once; a value may be NaN or infinite.

    ``current`` is False for what the run does not stand on: steps that the log went back from, and other histories in
    the same directory.
    """

    key: str
    points: tuple[Point, ...]
    current: bool = True


class Leg(NamedTuple):
    """Steps trained in one go, as far as ledger and files show it: ``first`` to ``last``, the losses at both ends.

    ``reason`` says what shows that it began with a resume, None for the first one; ``file`` is the data, if that is
    known.
    """

    first: int
    last: int
    reason: str | None
    loss_first: float | None
    loss_last: float | None
    file: str | None = None


class Mark(NamedTuple):
    """One checkpoint on the axis; ``reason`` says why it is not resumable, or no longer ``sealed``. ``saved`` is UTC.

    ``state`` is "resumable", "not judged", "weights only", "broken", "unknown" (a rule crashed), "in progress",
    "incomplete", "being deleted" or "unreadable". ``rehearsed``: whether `audit rehearse` found it the same, None if it
    was not rehearsed as it is. ``by_structure``: the state rests on the structure of the files alone.
    """

    name: str
    step: int
    state: str
    reason: str
    sealed: bool
    resume_here: bool
    best: bool
    epoch: float | None
    loss: float | None
    learning_rate: float | None
    files: int
    bytes: int
    saved: str | None
    rehearsed: bool | None = None
    by_structure: bool = False

    @property
    def words(self) -> str:
        """The state for people: "resumable by structure" if its bytes were not read."""
        return in_words(self.state, self.by_structure)


class Placed(NamedTuple):
    """A finding with the step where it belongs (None: the run as a whole) and the key of its curve (None: any)."""

    finding: Finding
    step: int | None
    key: str | None


class RunCurves(NamedTuple):
    """Everything that a page may show about one run; ``left_out`` counts keys of the log that have no curve here.

    ``live``: the page is written anew while the run is trained, and should show that by itself.
    """

    report: Report
    curves: tuple[Curve, ...]
    legs: tuple[Leg, ...]
    marks: tuple[Mark, ...]
    placed: tuple[Placed, ...]
    last_step: int
    max_steps: int | None
    entries: int
    left_out: int = 0
    live: bool = False


class FleetRun(NamedTuple):
    """One run of a fleet, as its row in the table has it; ``saved`` is UTC, ``page`` a link to the run's own page."""

    run: str
    owner: str
    status: str
    verdict: str | None
    judged: bool
    depth: str | None
    errors: int
    warnings: int
    rules: tuple[str, ...]
    resume_from: str | None
    newest_step: int | None
    checkpoints: int
    bytes: int
    bytes_not_resumable: int
    bytes_superseded: int
    saved: str | None
    error: str | None
    page: str | None = None


class FleetGroup(NamedTuple):
    """Runs of one owner, or of one age, in numbers; ``unaudited`` are those that could not be judged or read."""

    name: str
    runs: int = 0
    broken: int = 0
    suspect: int = 0
    unaudited: int = 0
    bytes: int = 0
    bytes_not_resumable: int = 0
    bytes_superseded: int = 0


class FleetRule(NamedTuple):
    """A rule with findings: in how many runs, how many, and one of the runs. Accepted findings are left out."""

    rule: str
    severity: str
    runs: int
    findings: int
    example: str


class FleetView(NamedTuple):
    """Everything that a page may show about a fleet.

    ``verdicts`` and ``statuses`` count runs. ``worst``, ``unaudited`` and ``freed`` (runs with the most bytes that
    could be freed) are the first ones of each kind, the worst or largest first; the groups count all runs.
    """

    table: str
    made: str
    version: str
    total: FleetGroup
    verdicts: dict[str, int]
    statuses: dict[str, int]
    depths: dict[str, int]
    crashed: tuple[str, ...]
    worst: tuple[FleetRun, ...]
    unaudited: tuple[FleetRun, ...]
    rules: tuple[FleetRule, ...]
    ages: tuple[FleetGroup, ...]
    owners: tuple[FleetGroup, ...]
    freed: tuple[FleetRun, ...]


def is_page(path: str) -> bool:
    """Whether a file is a page of ours: only such a one is overwritten without being named."""
    with suppress(OSError):
        if stat.S_ISREG(os.lstat(path).st_mode):
            with open(path, "rb") as file:
                return _OURS in file.read(1 << 16)
    return False
