"""Rows that a ledger has lost: cut off at its end, or gone with a ledger that was deleted and begun again.

The chain of digests shows a row that was changed, or removed from the middle. It cannot show rows that were cut off at
the end; what else is in ``.audit`` can.
"""

import os
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from audit.audit_dir import LEDGER, SEALS, pinned_names
from audit.backend.names import number_of
from audit.errors import AuditError
from audit.ledger.events import ScansRemembered, SealTaken

if TYPE_CHECKING:
    from audit.ledger.store import Row

_SUFFIXES = (".b3", ".sha256", ".sig")


class Evidence(NamedTuple):
    """What is left of seals beside the ledger: names of checkpoints that are ``pinned``, or have files of checksums.

    Look before the rows are read: a seal is a row before there is a pin, so a pin that was seen has its row.
    """

    pinned: frozenset[str] = frozenset()
    sealed: frozenset[str] = frozenset()


def evidence_in(run: str) -> Evidence:
    """Look for what only sealed checkpoints have."""
    return Evidence(frozenset(_pins(run)), frozenset(_sealed_outside(run)))


def lost_rows(run: str, rows: "Collection[Row]", scanned: Collection[str], evidence: Evidence) -> str | None:
    """Say what shows that rows are missing, None if nothing does.

    ``scanned`` are the names under which scans are remembered, read before the rows: each time a row says so.
    """
    path = os.path.join(run, LEDGER)
    sealed = {row.event.checkpoint for row in rows if isinstance(row.event, SealTaken)}
    remembered = {row.event.checkpoint for row in rows if isinstance(row.event, ScansRemembered)}
    for name in sorted(evidence.pinned - sealed):
        return f"{path}: rows are missing: {name} is pinned, but no seal of it is recorded"
    for name in sorted(evidence.sealed - sealed):
        return f"{path}: rows are missing: {SEALS} has {name}, but no seal of it is recorded"
    for name in sorted(set(scanned) - remembered):
        what = f"a scan of {name}" if name else "a judgement"
        return f"{path}: rows are missing: {what} is remembered, but no row says so"
    return None


def _pins(run: str) -> set[str]:
    try:
        return {name for name in pinned_names(run) if number_of(name) is not None}
    except AuditError:
        return set()


def _sealed_outside(run: str) -> set[str]:
    home = os.path.join(run, SEALS)
    try:
        if os.path.islink(home):
            return set()
        with os.scandir(home) as entries:
            names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    except OSError:
        return set()
    sealed = {name.rpartition(".")[0] for name in names if name.endswith(_SUFFIXES)}
    return {name for name in sealed if number_of(name) is not None}
