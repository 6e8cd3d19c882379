"""``<run>/.audit``: what the audit keeps beside the checkpoints of a run, by name, and how it is made and written.

The run may be untrusted: a link where one of these is expected could lead writing and deleting anywhere, so links are
refused, never followed.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from audit.errors import AuditError

AUDIT_DIR = ".audit"
"""What the audit keeps in a run."""
LEDGER = os.path.join(AUDIT_DIR, "ledger.db")
"""The run's own history, an SQLite file."""
DAY_TOLD = os.path.join(AUDIT_DIR, "day-told")
"""The last day on which it was looked whether there is a day to tell of."""
LOCK = os.path.join(AUDIT_DIR, "lock")
"""Locked by the process that trains or prunes the run."""
MIXED = os.path.join(AUDIT_DIR, "mixed.jsonl")
"""The rows of the leg that is being trained, if they are not those of one file."""
OUTBOX = os.path.join(AUDIT_DIR, "outbox")
"""Checkpoints that are to be pushed somewhere, as hard links."""
PINNED = os.path.join(AUDIT_DIR, "pinned")
"""The newest proven checkpoint, as hard links."""
QUARANTINE = os.path.join(AUDIT_DIR, "quarantine")
"""Broken checkpoints that were moved aside."""
SEALS = os.path.join(AUDIT_DIR, "seals")
"""Checksum files and signatures."""
TRASH = os.path.join(AUDIT_DIR, "trash")
"""Removed checkpoints until they are deleted."""
TRAINING_LOG = os.path.join(AUDIT_DIR, "training.log")
"""What the training process prints."""
PROGRESS = os.path.join(AUDIT_DIR, "progress.json")
"""The newest step of the training that holds the lock."""
RESERVE = os.path.join(AUDIT_DIR, "reserve")
"""Room for the last rows of the ledger on a full disk."""
SCRATCH = os.path.join(AUDIT_DIR, "scratch")
"""Examples of the leg that is being trained."""


def link_in_the_way(run: str, place: str) -> str | None:
    """Return the path of the first part of ``<run>/<place>`` below the run that is a link, None if there is none."""
    path = run
    for part in place.split(os.sep):
        path = os.path.join(path, part)
        if os.path.islink(path):
            return path
    return None


def refuse_links(run: str, place: str, consequence: str) -> None:
    """Raise AuditError, with what does not happen because of it, if a part of ``<run>/<place>`` is a link."""
    link = link_in_the_way(run, place)
    if link is not None:
        raise AuditError(f"{link}: is a link, so {consequence}")


def make(run: str, place: str, consequence: str) -> str:
    """Make the directory ``<run>/<place>`` if missing; return its path. Raises AuditError: a link, a read-only run."""
    refuse_links(run, place, consequence)
    home = os.path.join(run, place)
    try:
        os.makedirs(home, exist_ok=True)
    except OSError as error:
        for part in (os.path.join(run, AUDIT_DIR), home):
            if os.path.lexists(part) and not os.path.isdir(part):
                raise AuditError(f"{part}: is not a directory, so {consequence}; move it away") from error
        raise AuditError(f"{home}: cannot be made: {error.strerror or error}") from error
    return home


def free_name(home: str, name: str) -> str:
    """Return ``name``, or the first of ``name.1``, ``name.2``, ... that is not in ``home`` yet."""
    found, number = name, 0
    while os.path.lexists(os.path.join(home, found)):
        number += 1
        found = f"{name}.{number}"
    return found


def aside(path: str) -> str:
    """Return the name beside ``path`` under which this process prepares it."""
    return f"{path}.{os.getpid()}.tmp"


def read_small(run: str, place: str, most: int) -> bytes | None:
    """Return the first ``most`` bytes of the file ``<run>/<place>``, None if there is none that can be read.

    A link in its place is not followed, and a FIFO does not hang.
    """
    try:
        descriptor = os.open(os.path.join(run, place), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return os.read(descriptor, most) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


@contextmanager
def replaced(path: str) -> Iterator[str]:
    """Give a name to write to; the file replaces the one at ``path`` if the body succeeds, and is deleted if it fails.

    Raises what the body raises, and OSError.
    """
    scratch = aside(path)
    try:
        yield scratch
        os.replace(scratch, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(scratch)
        raise


@contextmanager
def scratch(run: str, name: str) -> Iterator[str]:
    """Give an empty directory for files that a leg needs while it runs, and delete it at the end.

    What a killed leg left under this name is deleted first. The directory is in the run: under /tmp it would stay
    behind, and is often in memory. Raises AuditError if a link is in the way, and OSError.
    """
    import shutil

    refuse_links(run, SCRATCH, "nothing is written or cleared there; remove it")
    home = os.path.join(run, SCRATCH, name)
    shutil.rmtree(home, ignore_errors=True)
    os.makedirs(home)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def pins_home(run: str) -> str | None:
    """Return the directory that holds the pins, None if there is none or a link is in the way."""
    home = os.path.join(run, PINNED)
    return home if link_in_the_way(run, PINNED) is None and os.path.isdir(home) else None


def pinned_names(run: str) -> set[str]:
    """Return the names of the checkpoints that are pinned. Raises AuditError."""
    home = pins_home(run)
    try:
        return set(os.listdir(home)) if home is not None else set()
    except OSError as error:
        raise AuditError(f"{home}: cannot be listed: {error.strerror or error}") from error
