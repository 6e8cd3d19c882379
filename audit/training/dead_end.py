"""What can be done where a training finds no checkpoint to resume from: every way that is open in this run."""

import os

from audit.audit_dir import PINNED, QUARANTINE
from audit.errors import AuditError
from audit.ledger.timeline import Timeline
from audit.retention.quarantine import replacing
from audit.text import listed
from audit.training.way_back import Surveyor, Target

NAMED = 3
"""Checkpoints and files that a message names."""


def ways_on(run: str, surveyor: Surveyor, timeline: Timeline) -> str:
    """Return what a person can do, in words. Checkpoints that the run may go back to are read to their last byte."""
    try:
        targets = surveyor.proven(timeline)
    except AuditError:
        targets = []
    ways = [f"--back-to {_name(item)} continues from {item}" for item in reversed(targets[-NAMED:])]
    ways.append(f"move the {replacing(run)} (--adopt if the ledger does not record its steps)")
    files = [item.file for item in timeline.batches if item.trained or item.step > item.first_step]
    again = f", training {listed(files, NAMED)} again" if files else ""
    ways.append(f"--allow-fresh starts over at step 0{again}")
    return f"ways to go on: {'; '.join(ways)}"


def _name(target: Target) -> str:
    """The name by which ``--back-to`` finds it."""
    home, place = os.path.split(target.place)
    return place if home in (PINNED, QUARANTINE) else target.checkpoint
