"""What blocked a checkpoint when every byte of it was read: at any depth it holds until one of its files is touched.

Without it, a look at the structure would offer again what a verification at full depth has just refused. It is kept
beside the scans that the ledger remembers of checkpoints, and takes their place: a checkpoint that was found broken is
read anew. The ledger's chain vouches for it (:func:`audit.ledger.records.vouched`).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from audit.findings import Finding, Outcome, RuleOutcome, RuleOutcomes, Severity
from audit.ledger.scans import stamp_of_file
from audit.text import minute, utc_time

if TYPE_CHECKING:
    from audit.facts.checkpoint import Checkpoint
    from audit.facts.run import Run
    from audit.ledger.records import Records
    from audit.ledger.store import Ledger

KEY = "/"
"""Where it is among a checkpoint's remembered scans: no file has this path."""
MOST = 20
"""Findings that are kept of one checkpoint."""


class Known(NamedTuple):
    """The findings that blocked a checkpoint, and when its bytes were read: UTC in ISO 8601."""

    read_at: str
    findings: tuple[Finding, ...]

    @property
    def when(self) -> str:
        """The time for people, to the minute."""
        return f"{minute(self.read_at)} UTC"


def keep(run: "Run", findings: Iterable[Finding], proven: Iterable[str], program: str, ledger: "Ledger") -> None:
    """Remember what blocks the checkpoints of a run that was judged at full depth. Raises LedgerError."""
    good = frozenset(proven)
    by_name: dict[str | None, list[Finding]] = {}
    for finding in findings:
        if finding.blocks_resume:
            by_name.setdefault(finding.checkpoint, []).append(finding)
    for checkpoint in run.judged:
        if checkpoint.name in good or not checkpoint.complete or checkpoint.name in run.unsettled:
            continue
        found = tuple(by_name.get(checkpoint.name, ())[:MOST])
        before = run.records.scans.get((checkpoint.name, KEY))
        if not found:
            if before is not None:
                ledger.forget([checkpoint.name])
            continue
        stamp = _stamp(program, checkpoint)
        known = _parsed(before[1], checkpoint.name) if before is not None and before[0] == stamp else None
        if known is None or known.findings != found:
            now = utc_time()
            ledger.remember(checkpoint.name, {KEY: (stamp, _text(now, found))}, now)


def any_known(records: "Records") -> bool:
    """Whether anything is remembered at all."""
    return any(file == KEY for _, file in records.scans)


def recalled(run: "Run", program: str) -> dict[str, Known]:
    """Return what still blocks checkpoints of which no file was touched since, by name."""
    found = {}
    for checkpoint in run.judged:
        stamp, text = run.records.scans.get((checkpoint.name, KEY), ("", ""))
        if stamp and stamp == _stamp(program, checkpoint):
            known = _parsed(text, checkpoint.name)
            if known is not None:
                found[checkpoint.name] = known
    return found


def chosen(
    known: Mapping[str, Known], rules: Iterable[str], severities: Mapping[str, Severity]
) -> dict[str, tuple[Finding, ...]]:
    """Return the findings of these rules, with the severities that are asked for."""
    wanted = frozenset(rules)
    return {
        name: tuple(
            item._replace(severity=severities.get(item.rule, item.severity))
            for item in found.findings
            if item.rule in wanted
        )
        for name, found in known.items()
    }


def added(
    findings: Sequence[Finding], outcomes: RuleOutcomes, known: Mapping[str, tuple[Finding, ...]]
) -> tuple[tuple[Finding, ...], RuleOutcomes]:
    """Return a judgement by structure with what is known besides; what it found itself is not there twice."""
    there = {(item.rule, item.checkpoint, item.file) for item in findings}
    new = [item for found in known.values() for item in found if (item.rule, item.checkpoint, item.file) not in there]
    failed = {(item.rule, item.checkpoint) for item in new}
    rows = [
        (name, tuple(_failed(item) if (item.rule, name) in failed else item for item in said))
        for name, said in outcomes.rows
    ]
    return (*findings, *new), RuleOutcomes(rows)


def _failed(outcome: RuleOutcome) -> RuleOutcome:
    return outcome._replace(outcome=Outcome.FAIL, reason=None)


def _stamp(program: str, checkpoint: "Checkpoint") -> str:
    """What must be the same: the program, and every entry of the checkpoint."""
    from blake3 import blake3

    entries = [[path, entry.kind, stamp_of_file(entry)] for path, entry in sorted(checkpoint.entries.items())]
    return f"faults:{program}:{blake3(json.dumps(entries).encode('utf-8', 'surrogatepass')).hexdigest(16)}"


def _text(read_at: str, findings: Sequence[Finding]) -> str:
    plain = [item._replace(checkpoint=None, accepted=None) for item in findings]
    return json.dumps([read_at, plain], separators=(",", ":"))


def _parsed(text: str, checkpoint: str) -> Known | None:
    """What was kept, None for text of another shape."""
    try:
        read_at, rows = json.loads(text)
        found = tuple(Finding(*row)._replace(checkpoint=checkpoint, severity=Severity(row[1])) for row in rows)
    except (ValueError, TypeError, IndexError, RecursionError):
        return None
    return Known(str(read_at), found)
