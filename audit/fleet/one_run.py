"""Audit one run and make its row, whatever comes: a run that cannot be judged has a row that says why."""

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.errors import AuditError
from audit.findings import Finding, Severity
from audit.fleet.rows import AUDITED, FAILED, GONE, MOST_FINDINGS, Audited, FindingRow, RunRow, shown
from audit.fleet.tasks import Order, Task
from audit.storage import scheme_of
from audit.text import first_line, plain
from audit.version import __version__

if TYPE_CHECKING:
    from audit.judging.auditor import Judged
    from audit.manager import Registry


def audit_run(task: Task, order: Order, registry: "Registry") -> Audited:
    """Judge a run as ``audit verify`` does, record nothing in it, and return its rows.

    Raises MemoryError: the process has no room for the run, and is best replaced.
    """
    from audit.facts.place import MissingError
    from audit.judging.verification import verify_run

    begin = time.perf_counter()
    options = order.options._replace(depth=task.depth, ledger=False, jobs=1)
    if task.reread:
        options = options._replace(cache=False)
    try:
        if scheme_of(task.run) is None and os.path.realpath(task.run) != _expected(task):
            return failed(task, order, "a link took its place after it was listed, and is not followed")
        judged = verify_run(task.run, options, registry=registry)
        if judged.run.only:
            return failed(task, order, "its own name is that of a checkpoint; rename it")
    except MissingError:
        return _gone(task, order)
    except AuditError as error:
        return failed(task, order, str(error))
    except MemoryError:
        raise
    except Exception as error:  # a bug of ours, or of a plugin: of this run, not of the others
        text = f"internal error, please report it: {type(error).__name__}: {first_line(error)}"
        return failed(task, order, text)
    return _audited(task, order, judged, time.perf_counter() - begin)


def failed(task: Task, order: Order, error: str) -> Audited:
    """Return the row of a run that could not be audited; of one that is not there any more."""
    if scheme_of(task.run) is None and not os.path.lexists(task.run):
        return _gone(task, order)
    return Audited(_base(task, order, FAILED)._replace(error=_text(error)))


def _gone(task: Task, order: Order) -> Audited:
    return Audited(_base(task, order, GONE)._replace(error="it was deleted after it was listed"))


def _base(task: Task, order: Order, status: str) -> RunRow:
    return RunRow(
        shown(task.run),
        shown(task.root),
        shown(task.owner),
        status,
        bytes=task.bytes,
        saved=task.saved_ns // 1000 or None,
        depth=task.depth,
        listing=task.listing,
        basis=order.basis,
        settled=task.settled,
        version=__version__,
        number=task.number,
        audited=time.time_ns() // 1000,
    )


def _expected(task: Task) -> str:
    """Where a run really is if none of the directories below its root is a link."""
    inside = os.path.relpath(task.run, task.root)
    root = os.path.realpath(task.root)
    return root if inside == "." else os.path.join(root, inside)


def _audited(task: Task, order: Order, judged: "Judged", seconds: float) -> Audited:
    report = judged.report
    lost, superseded = _freed(judged)
    counting = [item for item in report.counting if item.severity is not Severity.INFO]
    base = _base(task, order, AUDITED)
    row = base._replace(
        verdict=report.verdict,
        judged=all(item.judged for item in report.checkpoints),
        backend=report.backend,
        resume_from=report.resume_from and _text(report.resume_from),
        newest_step=report.latest_step,
        checkpoints=len(report.checkpoints),
        resumable=sum(item.resumable for item in report.checkpoints),
        errors=report.count(Severity.ERROR),
        warnings=report.count(Severity.WARNING),
        infos=report.count(Severity.INFO),
        accepted=report.accepted,
        rules=tuple(sorted({item.rule for item in counting})),
        crashed=tuple(sorted({item.rule for item in report.crashed})),
        files=report.files,
        bytes=sum(item.bytes for item in report.checkpoints),
        bytes_not_resumable=lost,
        bytes_superseded=superseded,
        bytes_read=report.bytes_read,
        seconds=round(seconds, 6),
        notes=tuple(map(_text, report.notes)),
    )
    return Audited(row, tuple(_finding(base.run, item) for item in report.findings[:MOST_FINDINGS]))


def _freed(judged: "Judged") -> tuple[int, int]:
    """Bytes of checkpoints that nothing can be resumed from, and of those that a newer one has superseded."""
    from audit.facts.completeness import CheckpointState
    from audit.judging.standing import BROKEN, standing

    run, report = judged
    sizes = {item.name: item for item in report.checkpoints}
    newest = next((item for item in reversed(run.judged) if item.complete), None)
    best = newest.best_recorded if newest is not None else None
    until = next((item.step for item in report.checkpoints if item.name == report.resume_from), -1)
    lost = superseded = 0
    for checkpoint in run.judged:
        summary = sizes[checkpoint.name]
        if summary.resumable:
            superseded += summary.bytes if summary.step < until and summary.name != best else 0
        elif standing(checkpoint, report).state in (BROKEN, CheckpointState.INCOMPLETE.value):
            lost += summary.bytes
    return lost, superseded


def _finding(run: str, finding: Finding) -> FindingRow:
    def text(value: object) -> str | None:
        return None if value is None else _text(str(plain(value)))

    return FindingRow(
        run,
        text(finding.checkpoint),
        text(finding.file),
        finding.step if finding.step is not None and abs(finding.step) < 1 << 63 else None,
        finding.rule,
        finding.severity.value,
        text(finding.message) or "",
        text(finding.expected),
        text(finding.actual),
        text(finding.remedy) or "",
        finding.blocks_resume,
        text(finding.accepted),
    )


def _text(text: str) -> str:
    """Text as a table takes it: no token in it, of limited length, and UTF-8."""
    return shown(str(plain(text)))


def failed_all(tasks: tuple[Task, ...], order: Order, error: str) -> Iterator[Audited]:
    """Return a row with this error for each of the runs."""
    return (failed(task, order, error) for task in tasks)
