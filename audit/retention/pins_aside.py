"""Pins of steps that are given up: into quarantine with them, so that no guard puts the checkpoint back."""

import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from audit.audit_dir import PINNED, QUARANTINE, free_name, make, pins_home
from audit.errors import AuditError
from audit.ledger.events import Quarantined
from audit.retention.pins import shares_files

if TYPE_CHECKING:
    from audit.ledger.store import Ledger


def set_pins_aside(run: str, given_up: Callable[[str], bool], reason: str, ledger: "Ledger | None") -> list[str]:
    """Take away the pins of the checkpoints that are ``given_up``; return their names.

    A pin is removed if the quarantine has the same files, else it is moved there: it may be the last copy. Raises
    AuditError.
    """
    home = pins_home(run)
    names = sorted(name for name in os.listdir(home) if given_up(name)) if home is not None else []
    if home is None or not names:
        return []
    quarantine = make(run, QUARANTINE, "nothing is moved there")
    for name in names:
        path = os.path.join(home, name)
        there = [os.path.join(quarantine, place) for place in os.listdir(quarantine) if place.startswith(name)]
        try:
            if any(shares_files(path, other) for other in there):
                shutil.rmtree(path)
                continue
            place = free_name(quarantine, name)
            if ledger is not None:
                ledger.append(Quarantined("moved", name, f"{QUARANTINE}/{place}", reason, None))
            os.rename(path, os.path.join(quarantine, place))
        except OSError as error:
            raise AuditError(f"{os.path.join(PINNED, name)}: cannot be moved: {error.strerror or error}") from error
    return names
