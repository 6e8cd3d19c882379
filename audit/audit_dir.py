"""``<run>/.audit``: what the audit keeps beside the checkpoints of a run."""

import os

from audit.errors import AuditError

PINNED = os.path.join(".audit", "pinned")


def pins_home(run: str) -> str | None:
    """Return the directory that holds the pins, None if there is none; links are not followed."""
    home = os.path.join(run, PINNED)
    for place in (os.path.join(run, ".audit"), home):
        if os.path.islink(place) or not os.path.isdir(place):
            return None
    return home


def pinned_names(run: str) -> set[str]:
    """Return the names of the checkpoints that are pinned. Raises AuditError."""
    home = pins_home(run)
    try:
        return set(os.listdir(home)) if home is not None else set()
    except OSError as error:
        raise AuditError(f"{home}: cannot be listed: {error.strerror or error}") from error
