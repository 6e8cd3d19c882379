"""What a run's ledger says when an audit begins: seals, remembered scans, the step that was reached."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from audit.seal import Seal, seals_of

if TYPE_CHECKING:
    from audit.ledger import Ledger, Row


class Records(NamedTuple):
    """``seals`` by checkpoint, ``scans`` as (stamp, text) by (checkpoint, file), ``reached`` the highest step seen.

    ``unusable`` says why the ledger could not be used, ``edited`` that its rows are not what was written, ``unwritable``
    that nothing can be added to it. ``pruned`` holds the steps of checkpoints that somebody asked to remove; ``snapshot``
    says that this is a copy of one checkpoint of another run.
    """

    seals: Mapping[str, Seal] = {}
    scans: Mapping[tuple[str, str], tuple[str, str]] = {}
    reached: int = 0
    observed: int = 0
    unusable: str | None = None
    edited: str | None = None
    unwritable: str | None = None
    pruned: frozenset[int] = frozenset()
    snapshot: bool = False


def read_records(run: str, write: bool) -> "tuple[Records, Ledger | None]":
    """Open the ledger of a run and read it; a run without one has empty records. Never raises for a bad ledger.

    With ``write`` the ledger is returned open, to be written and closed by the caller.
    """
    if not os.path.isdir(run) or not (write or os.path.lexists(os.path.join(run, ".audit"))):
        return Records(), None
    from audit.ledger import LedgerEditedError, LedgerError, LedgerUnwritableError, open_ledger

    try:
        ledger = open_ledger(run, write)
    except LedgerUnwritableError as error:
        return Records(unwritable=str(error)), None  # a read-only run without a ledger is nothing to worry about
    except LedgerError as error:
        return Records(unusable=str(error)), None
    if ledger is None:
        return Records(), None
    unwritable = f"{ledger.path}: cannot be written" if write and not ledger.writable else None
    try:
        rows = ledger.rows()
        scans = vouched(rows, ledger.scans())
    except LedgerEditedError as error:
        ledger.close()
        return Records(edited=str(error)), None
    except LedgerError as error:
        ledger.close()
        return Records(unusable=str(error)), None
    observed = sum(row.kind == "observation" for row in rows)
    records = Records(
        seals_of(rows), scans, reached_by(rows), observed, None, None, unwritable, pruned_of(rows), _is_snapshot(rows)
    )
    if not write or not ledger.writable:
        ledger.close()
        return records, None
    return records, ledger


def vouched(
    rows: "tuple[Row, ...]", scans: Mapping[tuple[str, str], tuple[str, str]]
) -> Mapping[tuple[str, str], tuple[str, str]]:
    """Return the remembered scans whose digest the chain of rows holds: nobody slips in one of another file."""
    from audit.ledger import scans_digest

    told = {row.content.get("checkpoint"): row.content.get("digest") for row in rows if row.kind == "scans"}
    by_checkpoint: dict[str, dict[str, tuple[str, str]]] = {}
    for (checkpoint, file), scan in scans.items():
        by_checkpoint.setdefault(checkpoint, {})[file] = scan
    kept = {name for name, held in by_checkpoint.items() if name in told and told[name] == scans_digest(held)}
    return {key: scan for key, scan in scans.items() if key[0] in kept}


def pruned_of(rows: "tuple[Row, ...]") -> frozenset[int]:
    """Return the steps of the checkpoints that ``audit prune`` removed."""
    steps = (row.content.get("pruned") for row in rows if row.kind == "pruned")
    return frozenset(step for step in steps if isinstance(step, int) and not isinstance(step, bool))


def _is_snapshot(rows: "tuple[Row, ...]") -> bool:
    return any(row.kind == "snapshot" for row in rows)


def reached_by(rows: "tuple[Row, ...]") -> int:
    """Return the step that the run is known to have reached.

    An observation raises it. What the guard handed out, or that it allowed a fresh start, or a quarantine that somebody
    asked for, or where a training said that it begins, is a known way back: it sets the step anew.
    """
    reached = 0
    for row in rows:
        step = row.content.get("step")
        if not isinstance(step, int) or isinstance(step, bool) or step < 0:
            continue
        if row.kind == "observation":
            reached = max(reached, step)
        elif row.kind in ("guard", "quarantine", "start"):
            reached = step
    return reached
