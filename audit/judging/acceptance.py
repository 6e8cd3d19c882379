"""Findings that a person has judged and accepted: recorded in the ledger with rule, place and reason.

An accepted finding still is in every report. It no longer keeps a checkpoint from being proven, unless it blocks
resuming: nobody can accept that a checkpoint cannot be loaded.
"""

from collections.abc import Iterable

from audit.findings import Finding
from audit.ledger.events import Accepted


def acceptance_of(finding: Finding, accepted: Iterable[Accepted], day: str) -> Accepted | None:
    """Return what accepts a finding on ``day`` (2026-11-21), None if nothing does.

    A place in the log is the same place in every later checkpoint. A finding on a checkpoint as a whole is accepted for
    that one, a finding on the run without a place for the run.
    """
    if finding.blocks_resume:
        return None
    for item in accepted:
        if item.rule != finding.rule or (item.until is not None and day > item.until):
            continue
        if finding.step is not None:
            if finding.step == item.step:
                return item
        elif finding.checkpoint is None or finding.checkpoint == item.checkpoint:
            return item
    return None
