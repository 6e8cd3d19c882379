"""Findings that a person has judged and accepted: in the configuration, or recorded in the ledger by ``audit train``.

An accepted finding still is in every report, with its reason. It counts neither for the verdict nor for the exit code,
and no longer keeps a checkpoint from being proven. A finding that blocks resuming is never accepted: nobody can accept
that a checkpoint cannot be loaded.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

from audit.backend.names import number_of
from audit.findings import ACCEPTED, Acceptance, Finding
from audit.ledger.events import Accepted


def accept(
    findings: Sequence[Finding], recorded: Sequence[Accepted], configured: Sequence[Acceptance], day: str
) -> tuple[Finding, ...]:
    """Return the findings with the reasons for which they are accepted on ``day`` (2026-11-21); those come last."""
    if not recorded and not configured:
        return tuple(findings)

    def judged(finding: Finding) -> Finding:
        found = acceptance_of(finding, recorded, day)
        reason = found.reason if found is not None else _configured(finding, configured, day)
        return finding if reason is None else finding._replace(accepted=reason or ACCEPTED)

    return tuple(sorted(map(judged, findings), key=lambda item: item.accepted is not None))


def acceptance_of(finding: Finding, recorded: Iterable[Accepted], day: str) -> Accepted | None:
    """Return the row of the ledger that accepts a finding on ``day``, None if none does.

    A place in the log is the same place in every later checkpoint. A finding on a checkpoint as a whole is accepted for
    that one, a finding on the run without a place for the run.
    """
    if finding.blocks_resume:
        return None
    for item in recorded:
        if item.rule != finding.rule or _is_over(item, day):
            continue
        if finding.step is not None:
            if finding.step == item.step:
                return item
        elif finding.checkpoint is None or finding.checkpoint == item.checkpoint:
            return item
    return None


def in_vain(
    configured: Iterable[Acceptance], findings: Sequence[Finding], rules: Collection[str], day: str
) -> Iterator[str]:
    """Say which entries of the configuration accept nothing, and why; of unused ones those of the given ``rules``."""
    for item in configured:
        about = f"accept: {item.rule} at {_place(item)}"
        met = [finding for finding in findings if _meets(item, finding)]
        if _is_over(item, day):
            yield f"{about}: expired on {item.until}{', so the finding counts' if met else ''}"
        elif any(finding.blocks_resume for finding in met):
            yield f"{about}: what blocks resuming cannot be accepted, so the finding counts"
        elif not met and item.rule in rules:
            others = dict.fromkeys(_place_of(finding) for finding in findings if finding.rule == item.rule)
            elsewhere = f"; the rule has a finding at {next(iter(others))}" if others else ""
            yield f"{about}: nothing is found there, so the entry is not used{elsewhere}"


def _configured(finding: Finding, configured: Iterable[Acceptance], day: str) -> str | None:
    if finding.blocks_resume:
        return None
    found = (item.reason for item in configured if _meets(item, finding) and not _is_over(item, day))
    return next(found, None)


def _meets(item: Acceptance, finding: Finding) -> bool:
    """Whether an entry names the place of a finding: its checkpoint, or its step, in the log if it has one there."""
    if item.rule != finding.rule:
        return False
    if item.step is not None:
        return item.step == (finding.step if finding.step is not None else number_of(finding.checkpoint or ""))
    return item.checkpoint == finding.checkpoint


def _is_over(item: Acceptance | Accepted, day: str) -> bool:
    return item.until is not None and day > item.until


def _place(item: Acceptance) -> str:
    return item.checkpoint or (f"step {item.step}" if item.step is not None else "the run as a whole")


def _place_of(finding: Finding) -> str:
    step = f"step {finding.step}" if finding.step is not None else ""
    return ", ".join(filter(None, (finding.checkpoint, step))) or "the run as a whole"
