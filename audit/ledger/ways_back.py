"""Rows after which a run is at another step: where a training begins, and ways back.

What ``audit train`` records is imported for a row of its kind alone: most ledgers have none, and it would be a third of
what is loaded to answer for an unchanged run.
"""

from typing import TYPE_CHECKING

from audit.ledger.batch_row import BATCH
from audit.ledger.events import GuardDecision, Quarantined, Start

if TYPE_CHECKING:
    from audit.ledger.back_events import GoingBack
    from audit.ledger.batch_events import LegBegun
    from audit.ledger.store import Row


def leg_of(row: "Row") -> "LegBegun | None":
    """Return the leg that begins with a row, None if none does."""
    if row.kind != BATCH:
        return None
    from audit.ledger.batch_events import LegBegun

    return row.event if isinstance(row.event, LegBegun) else None


def going_back_of(row: "Row") -> "GoingBack | None":
    """Return how a person takes the run back with a row (``--back-to``), None if nobody does."""
    if row.kind != BATCH:
        return None
    from audit.ledger.back_events import GoingBack

    return row.event if isinstance(row.event, GoingBack) else None


def begins_at(row: "Row") -> int | None:
    """Return the step at which a training begins with a row, None if none does."""
    leg = leg_of(row)
    if leg is not None:
        return leg.first_step
    return row.event.step if isinstance(row.event, Start) else None


def way_back_of(row: "Row") -> int | None:
    """Return the step that a row takes the run back to, or on from, deliberately; None if it does not."""
    if isinstance(row.event, GuardDecision | Quarantined | Start):
        return row.event.step
    leg = leg_of(row)
    if leg is not None or row.kind != BATCH:
        return leg.first_step if leg is not None else None
    from audit.ledger.back_events import GoingBack, WentBack

    return row.event.step if isinstance(row.event, GoingBack | WentBack) else None
