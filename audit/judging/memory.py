"""A judgement that still holds: of a run in which nothing has changed since it was judged, by the same rules.

Only the guard makes use of it, and only of one that has nothing to say: every checkpoint sealed, the newest to be
resumed from. What counts as unchanged is what counts for a single file (size, times, inode), for all entries of the
run. The ledger's chain vouches for the text; see :func:`audit.ledger.records.vouched`.
"""

import json
import os
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

from audit.audit_dir import AUDIT_DIR
from audit.facts.checkpoint import Checkpoint
from audit.facts.run import Run
from audit.findings import Finding, Outcome, RuleOutcome, Severity
from audit.ledger.scans import is_stamp_of
from audit.options import Options
from audit.report import CheckpointSummary, Report
from audit.rules import Rule
from audit.version import __version__

if TYPE_CHECKING:
    from audit.ledger.store import Ledger

KEY = ("", "judgement")
"""Where it stands among the remembered scans: no checkpoint has an empty name."""


def keep(run: Run, rules: Sequence[Rule], options: Options, report: Report, ledger: "Ledger | None") -> None:
    """Remember a judgement that has nothing to say. It is a matter of speed only: what cannot be written is let go."""
    from audit.ledger.store import LedgerError

    if ledger is None or report.notes or not _says_nothing(run, rules, report):
        return
    # Every file was read, so what the ledger now remembers of it is of the file as it is.
    read = {(item.name, path) for item in run.checkpoints for path in run.digests_of(item)}
    stamp = _stamp(run, rules, options, read)
    if stamp is None or run.records.scans.get(KEY, ("",))[0] == stamp:
        return
    try:
        ledger.remember(KEY[0], {KEY[1]: (stamp, _text(report))})
    except LedgerError:
        return


def recall(run: Run, rules: Sequence[Rule], options: Options) -> tuple[Report, Checkpoint] | None:
    """Return the remembered judgement and the newest checkpoint, if it holds of this run as it is now."""
    stamp, text = run.records.scans.get(KEY, ("", ""))
    if not stamp or not run.checkpoints or not options.cache:
        return None
    newest = run.checkpoints[-1]
    seals = run.records.seals
    if run.records.highest_reached > newest.step or any(item.name not in seals for item in run.checkpoints):
        return None
    scans = run.records.scans
    read = {
        (item.name, path)
        for item in run.checkpoints
        for path, entry in item.entries.items()
        if is_stamp_of(scans.get((item.name, path), ("", ""))[0], entry)
    }
    report = _report(text) if stamp == _stamp(run, rules, options, read) else None
    return (report._replace(path=run.path), newest) if report and report.resume_from == newest.name else None


def _says_nothing(run: Run, rules: Sequence[Rule], report: Report) -> bool:
    """Whether there is nothing to act on, whether or not the resume has to be exact."""
    inexact = {rule.id for rule in rules if rule.breaks_exactness}
    return (
        report.depth == "full"
        and not report.crashed
        and bool(run.checkpoints)
        and report.resume_from == run.checkpoints[-1].name
        and [item.name for item in report.checkpoints] == [item.name for item in run.checkpoints]
        and all(item.sealed and item.resumable for item in report.checkpoints)
        and all(item.severity is Severity.INFO and not item.blocks_resume for item in report.findings)
        and not any(item.rule in inexact for item in report.findings)
        and all(item.complete for item in run.checkpoints)
        and not run.unsettled
    )


def _stamp(run: Run, rules: Sequence[Rule], options: Options, read: Container[tuple[str, str]]) -> str | None:
    """Return a digest of all that the judgement rests on; None if a directory could not be listed.

    ``read``: (checkpoint, file) of the files whose remembered scan is of the file as it is. Their ctime does not count:
    a pin changes it, and renews the scan (:func:`audit.retention.pins.known_links`).
    """
    from blake3 import blake3

    if run.depth != "full" or run.unlistable or run.overfull:
        return None
    root = [list(entry) for name, entry in run.entries.items() if name != AUDIT_DIR]
    inside = [
        list(entry._replace(ctime_ns=0) if (checkpoint.name, path) in read else entry)
        for checkpoint in run.checkpoints
        for path, entry in checkpoint.entries.items()
    ]
    files = {rule.function.__code__.co_filename for rule in rules}
    # A judgement without a finding of a rule that breaks exactness is the same with and without ``exact``.
    judges = [
        [rule.id, rule.severity, rule.blocks_resume and not rule.breaks_exactness, rule.scope, rule.explained_by]
        for rule in rules
    ]
    wanted = [{name: dict(options.rules[name]) for name in sorted(options.rules)}, dict(options.severity)]
    whole = [
        [__version__, os.path.abspath(run.path), run.backend.name, root, inside, judges],
        [[name, _mtime(name)] for name in sorted(files)],
        wanted,
    ]
    text = json.dumps(whole, sort_keys=True, default=str)
    return f"1:{blake3(text.encode('ascii')).hexdigest()}"


def _mtime(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _text(report: Report) -> str:
    return json.dumps(report._replace(path="", seconds=0.0, bytes_read=0))


def _report(text: str) -> Report | None:
    """The report as it was kept; None for text of another shape."""
    try:
        values: list[Any] = json.loads(text)
        report = Report(*values)
        return report._replace(
            checkpoints=tuple(CheckpointSummary(*item) for item in report.checkpoints),
            findings=tuple(Finding(*item)._replace(severity=Severity(item[1])) for item in report.findings),
            outcomes=tuple(RuleOutcome(*item)._replace(outcome=Outcome(item[2])) for item in report.outcomes),
            notes=tuple(report.notes),
        )
    except (ValueError, TypeError, IndexError, KeyError, RecursionError):
        return None
