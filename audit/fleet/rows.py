"""The two tables of a fleet as values: one row for each run, one for each finding."""

from collections.abc import Callable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

Item = TypeVar("Item")

AUDITED, FAILED, UNREAD, GONE = "audited", "failed", "unread", "gone"
"""What became of a run: judged; it could not be judged (``error`` says why); a checkpoint in a layout that no backend
reads; deleted after it was listed."""

MOST_FINDINGS = 1000
"""Findings of one run that have a row; the counts in the row of the run are of all of them."""


class RunRow(NamedTuple):
    """What is known of one run.

    ``run`` and ``root`` are absolute paths, ``owner`` the first directory below the root. ``verdict`` is None unless
    the status is "audited". Not ``judged``: files that a resume reads were not read. ``rules`` are those with an error
    or a warning that nobody has accepted; ``crashed`` those that crashed. ``bytes`` are those of all files in
    checkpoints; ``bytes_not_resumable`` of checkpoints that are broken or were not written to their end,
    ``bytes_superseded`` of resumable ones older than ``resume_from``, the recorded best left out. ``saved``: when a
    file of it was last written, in microseconds since 1970, UTC, as ``audited``. ``seconds`` and ``bytes_read`` are of
    the audit. ``listing`` is a digest of the run's entries, ``basis`` one of the program and the options. Not
    ``settled``: something in it was so young that its age counts, so the row is never taken over. ``number`` is the
    pass that audited it.
    """

    run: str
    root: str
    owner: str
    status: str
    verdict: str | None = None
    judged: bool = True
    backend: str | None = None
    resume_from: str | None = None
    newest_step: int | None = None
    checkpoints: int = 0
    resumable: int = 0
    errors: int = 0
    warnings: int = 0
    infos: int = 0
    accepted: int = 0
    rules: tuple[str, ...] = ()
    crashed: tuple[str, ...] = ()
    files: int = 0
    bytes: int = 0
    bytes_not_resumable: int = 0
    bytes_superseded: int = 0
    saved: int | None = None
    depth: str | None = None
    bytes_read: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    error: str | None = None
    listing: str | None = None
    basis: str | None = None
    settled: bool = False
    version: str = ""
    number: int = 0
    audited: int | None = None


class FindingRow(NamedTuple):
    """One finding of one run, as in the JSON report; ``expected`` and ``actual`` are text, ``accepted`` a reason."""

    run: str
    checkpoint: str | None
    file: str | None
    step: int | None
    rule: str
    severity: str
    message: str
    expected: str | None
    actual: str | None
    remedy: str
    blocks_resume: bool
    accepted: str | None


class Audited(NamedTuple):
    """A run's row with those of its findings."""

    row: RunRow
    findings: tuple[FindingRow, ...] = ()

    def document(self) -> list[Any]:
        """Return what :meth:`read` takes, as JSON has it."""
        return [list(self.row), [list(item) for item in self.findings]]

    @classmethod
    def read(cls, document: Any) -> "Audited":
        """Make one of what :meth:`document` returned. Raises TypeError and ValueError for anything else."""
        row, findings = document
        fields = dict(zip(RunRow._fields, row, strict=True))
        lists = {name: tuple(fields[name]) for name in ("rules", "crashed", "notes")}
        return cls(RunRow(**{**fields, **lists}), tuple(FindingRow(*item) for item in findings))


def shown(path: str) -> str:
    """Return a path as a table has it: bytes that are no UTF-8 are escaped."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def order(run: str) -> list[str]:
    """Return the key by which rows are sorted: that of a walk which takes the names of each directory in order."""
    return run.split("/")


class InOrder(Generic[Item]):
    """What is in the order of its runs (``run_of``), asked for in the same order; no more than one is held."""

    def __init__(self, items: Iterator[Item], run_of: Callable[[Item], str]) -> None:
        self._items, self._run_of = items, run_of
        self._next = next(items, None)

    def find(self, run: str) -> Item | None:
        """Return that of a run, None if there is none; what comes before it is passed over."""
        while self._next is not None and order(self._run_of(self._next)) < order(run):
            self._next = next(self._items, None)
        return self._next if self._next is not None and self._run_of(self._next) == run else None
