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
    that nothing can be added to it.
    """

    seals: Mapping[str, Seal] = {}
    scans: Mapping[tuple[str, str], tuple[str, str]] = {}
    reached: int = 0
    observed: int = 0
    unusable: str | None = None
    edited: str | None = None
    unwritable: str | None = None


def read_records(run: str, write: bool) -> "tuple[Records, Ledger | None]":
    """Open the ledger of a run and read it; a run without one has empty records. Never raises for a bad ledger.

    With ``write`` the ledger is returned open, to be written and closed by the caller.
    """
    if not os.path.isdir(run) or not (write or os.path.lexists(os.path.join(run, ".audit"))):
        return Records(), None
    from audit.ledger import LedgerEditedError, LedgerError, open_ledger

    try:
        ledger = open_ledger(run, write)
    except LedgerError as error:
        if os.path.lexists(os.path.join(run, ".audit", "ledger.db")):
            return Records(unusable=str(error)), None
        return Records(unwritable=str(error)), None  # a read-only run without a ledger is nothing to worry about
    if ledger is None:
        return Records(), None
    unwritable = f"{ledger.path}: cannot be written" if write and not ledger.writable else None
    try:
        rows, scans = ledger.rows(), ledger.scans()
    except LedgerEditedError as error:
        ledger.close()
        return Records(edited=str(error)), None
    except LedgerError as error:
        ledger.close()
        return Records(unusable=str(error)), None
    observed = sum(row.kind == "observation" for row in rows)
    records = Records(seals_of(rows), scans, reached_by(rows), observed, None, None, unwritable)
    if not write or not ledger.writable:
        ledger.close()
        return records, None
    return records, ledger


def reached_by(rows: "tuple[Row, ...]") -> int:
    """Return the step that the run is known to have reached.

    An observation raises it. What the guard handed out, or that it allowed a fresh start, or a quarantine that somebody
    asked for, is a known way back: it sets the step anew.
    """
    reached = 0
    for row in rows:
        step = row.content.get("step")
        if not isinstance(step, int) or isinstance(step, bool) or step < 0:
            continue
        if row.kind == "observation":
            reached = max(reached, step)
        elif row.kind in ("guard", "quarantine"):
            reached = step
    return reached
