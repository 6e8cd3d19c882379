"""A judgement that still holds: of a run in which nothing has changed since it was judged, by the same program.

Only one that has nothing to say is remembered: every checkpoint sealed, the newest to be resumed from. What counts as
unchanged is what counts for a single file (size, times, inode), for all entries of the run. The ledger's chain vouches
for the text; see :func:`audit.ledger.records.vouched`. No rule is loaded for an answer from here.
"""

import json
import os
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.audit_dir import AUDIT_DIR
from audit.facts.listing import list_checkpoint
from audit.findings import Finding, Outcome, RuleOutcome, RuleOutcomes, Severity
from audit.judging.program import program_of
from audit.ledger.records import Records
from audit.ledger.scans import is_stamp_of
from audit.options import Options
from audit.report import CheckpointSummary, Report
from audit.storage import Entry

if TYPE_CHECKING:
    from audit.facts.place import Place
    from audit.facts.run import Run
    from audit.judging.auditor import Auditor
    from audit.ledger.store import Ledger
    from audit.manager import Registry

KEY = ("", "judgement")
"""Where it stands among the remembered scans: no checkpoint has an empty name."""


class Remembered(NamedTuple):
    """A judgement that still holds.

    ``exactly``: judged anew, the report would be the same in every outcome; otherwise it would find as little, but the
    ledger knows more by now, or files were so young that their age still counted.
    """

    report: Report
    exactly: bool

    @property
    def newest(self) -> CheckpointSummary:
        """The newest checkpoint, which is resumable."""
        return self.report.checkpoints[-1]


def keep(run: "Run", auditor: "Auditor", report: Report, ledger: "Ledger | None") -> None:
    """Remember a judgement that has nothing to say. It is a matter of speed only: what cannot be written is let go."""
    from audit.ledger.store import LedgerError

    if ledger is None or report.notes or run.memory is None:
        return
    if run.unlistable or run.overfull or not _says_nothing(run, auditor, report):
        return
    program = auditor.program
    if program is None:
        return
    # Every file was read, so what the ledger now remembers of it is of the file as it is.
    read = {(item.name, path) for item in run.checkpoints for path in run.digests_of(item)}
    stamp = _stamp(program, auditor.options, run.storage.identity, run.entries, run.listing.inside, read)
    kept = (stamp, _text(report, _basis(run.path, run.records) if _is_settled(run) else ""))
    if run.records.scans.get(KEY) == kept:
        return
    try:
        ledger.remember(KEY[0], {KEY[1]: kept})
    except LedgerError:
        return


def recall(place: "Place", records: Records, options: Options, registry: "Registry") -> Remembered | None:
    """Return the remembered judgement of a run if it holds of the run as it is now."""
    stamp, text = records.scans.get(KEY, ("", ""))
    if not stamp or not options.cache or options.depth != "full":
        return None
    path, storage = place.root, place.storage
    try:
        root = {entry.name: entry for entry in storage.list("")}
    except OSError:
        return None
    program = program_of(registry)
    # After a save this is another one already, and the text, which grows with the run, is not parsed.
    if program is None or not stamp.startswith(_stamp_of_root(program, storage.identity, root)):
        return None
    found = _parsed(text)
    if found is None:
        return None
    report, basis = found
    names = [item.name for item in report.checkpoints]
    newest = report.checkpoints[-1].step if report.checkpoints else -1
    if records.highest_reached > newest or any(name not in records.seals for name in names):
        return None
    if any(name in records.given_up for name in names):  # they were no finding before the run went back
        return None
    inside = {}
    for name in names:
        there = list_checkpoint(storage, name, root[name]) if name in root else None
        if there is None or there.unlistable or there.overfull:
            return None
        inside[name] = there.entries
    read = {
        (name, file)
        for name, entries in inside.items()
        for file, entry in entries.items()
        if is_stamp_of(records.scans.get((name, file), ("", ""))[0], entry)
    }
    if stamp != _stamp(program, options, storage.identity, root, inside, read):
        return None
    return Remembered(report._replace(path=path), basis == _basis(path, records))


def _says_nothing(run: "Run", auditor: "Auditor", report: Report) -> bool:
    """Whether there is nothing to act on, whether or not the resume has to be exact."""
    inexact = {rule.id for rule in auditor.rules if rule.breaks_exactness}
    return (
        report.depth == "full"
        and not report.crashed
        and bool(run.checkpoints)
        and report.resume_from == run.checkpoints[-1].name
        and [item.name for item in report.checkpoints] == [item.name for item in run.checkpoints]
        and all(item.sealed and item.resumable and item.judged for item in report.checkpoints)
        and all(item.severity is Severity.INFO and not item.blocks_resume for item in report.findings)
        and not report.accepted
        and not any(item.rule in inexact for item in report.findings)
        and all(item.complete for item in run.checkpoints)
        and not run.unsettled
    )


def _is_settled(run: "Run") -> bool:
    """Whether nothing is so young that its age counts, nor of the future; and whether all that counts is in the run."""
    entries = [run.entry_of(item.name) for item in run.checkpoints]
    entries += [entry for item in run.checkpoints for entry in item.entries.values()]
    entries += [entry for name, entry in run.entries.items() if name != AUDIT_DIR]
    newest = max(entry.mtime_ns for entry in entries)
    state = run.checkpoints[-1].optional("state")
    best = state.best_model_checkpoint if state is not None else None
    inside = (
        run.storage.root is None
        or not best
        or not os.path.isabs(best)
        or os.path.dirname(best) == os.path.abspath(run.path)
    )
    return inside and newest <= run.clock.now_ns - run.clock.settle_ns


def _basis(path: str, records: Records) -> str:
    """Digest of what a report rests on beside the run's entries: what the ledger says, and how the run is called."""
    known = records._replace(scans={}, last_read={}, observed=min(records.observed, 1))._asdict()
    return _digest([path, {**known, "pruned": sorted(records.pruned), "quarantined": sorted(records.quarantined)}])


def _stamp(
    program: str,
    options: Options,
    identity: str,
    root: Mapping[str, Entry],
    inside: Mapping[str, Mapping[str, Entry]],
    read: Container[tuple[str, str]],
) -> str:
    """Return a digest of all that the judgement rests on: the entries of the root, those in each checkpoint.

    ``read``: (checkpoint, file) of the files whose remembered scan is of the file as it is. Their ctime does not count:
    a pin changes it, and renews the scan (:func:`audit.retention.pins.known_links`). A judgement without a finding of a
    rule that breaks exactness is the same with and without ``exact``.
    """
    within = [
        [name, [list(entry._replace(ctime_ns=0) if (name, file) in read else entry) for file, entry in entries.items()]]
        for name, entries in sorted(inside.items())
    ]
    return f"{_stamp_of_root(program, identity, root)}{_digest([within, _asked(options)])}"


def _stamp_of_root(program: str, identity: str, root: Mapping[str, Entry]) -> str:
    """The beginning of a stamp: what judges, and the entries of the run's own directory."""
    outside = [list(entry) for name, entry in root.items() if name != AUDIT_DIR]
    return f"4:{_digest([program, identity, outside])}:"


def _asked(options: Options) -> list[Any]:
    rules = {name: dict(thresholds) for name, thresholds in options.rules.items()}
    return [options.backend, options.select, options.ignore, dict(options.severity), rules, options.accept]


def _digest(value: Any) -> str:
    from blake3 import blake3

    return blake3(json.dumps(value, sort_keys=True, default=str).encode("ascii")).hexdigest()


def _text(report: Report, basis: str) -> str:
    """The report as text; outcomes, which are many and few different ones, by their places in lists of these."""
    said: dict[RuleOutcome, int] = {}
    patterns: dict[int, int] = {}
    shown: list[list[int]] = []
    rows = []
    for name, outcomes in RuleOutcomes.of(report.outcomes).rows:
        if id(outcomes) not in patterns:
            patterns[id(outcomes)] = len(shown)
            shown.append([said.setdefault(item, len(said)) for item in outcomes])
        rows.append([name, patterns[id(outcomes)]])
    whole = report._replace(path="", seconds=0.0, bytes_read=0, outcomes=())
    kinds = [[item.rule, item.outcome, item.reason] for item in said]
    return json.dumps([basis, whole, kinds, shown, rows], separators=(",", ":"))


def _parsed(text: str) -> tuple[Report, str] | None:
    """The report as it was kept, and what it rests on; None for text of another shape."""
    try:
        basis, values, said, shown, rows = json.loads(text)
        report = Report(*values)
        kinds = [RuleOutcome(rule, None, Outcome(outcome), reason) for rule, outcome, reason in said]
        patterns = [tuple(kinds[place] for place in places) for places in shown]
        whole = report._replace(
            checkpoints=tuple(CheckpointSummary(*item) for item in report.checkpoints),
            findings=tuple(Finding(*item)._replace(severity=Severity(item[1])) for item in report.findings),
            outcomes=RuleOutcomes((name, patterns[place]) for name, place in rows),
            notes=tuple(report.notes),
        )
    except (ValueError, TypeError, IndexError, KeyError, RecursionError):
        return None
    return whole, str(basis)
