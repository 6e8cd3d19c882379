"""Where the merged model is made, beside its place: it appears there by one rename, whole, or not at all.

``OUT.tmp`` holds ``audit-merge.lock``, which says whose it is and is locked as long as somebody works there, and
``model``, which becomes OUT. What a killed call left is removed by the next one.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from audit.errors import AuditError, RefusedError
from audit.retention.copying import sync

SUFFIX = ".tmp"
MARK = "audit-merge.lock"
MODEL = "model"


class Scratch:
    """The directory ``model`` that is written to; ``publish`` renames it to ``out``."""

    def __init__(self, out: str, home: str) -> None:
        self.out = out
        self.model = os.path.join(home, MODEL)

    def publish(self) -> None:
        """Rename. Raises RefusedError if something is there by now, and OSError."""
        sync(self.model)
        refuse_taken(self.out)
        os.rename(self.model, self.out)
        sync(os.path.dirname(os.path.abspath(self.out)))


def write_new(path: str, pieces: Iterable[bytes]) -> None:
    """Write a file that is not there yet; it is on the disk when this returns. Raises OSError."""
    with open(path, "xb") as target:
        target.writelines(pieces)
        target.flush()
        os.fsync(target.fileno())


def refuse_taken(out: str) -> None:
    """Raise RefusedError if OUT exists."""
    if os.path.lexists(out):
        raise RefusedError(f"{out}: already exists, and nothing is overwritten; give another OUT, or move it away")


@contextmanager
def scratch(out: str) -> Iterator[Scratch]:
    """Make OUT.tmp and delete it at the end. Raises AuditError, RefusedError: OUT exists, or OUT.tmp is in use."""
    from fcntl import LOCK_EX, LOCK_NB, flock

    home = out.rstrip(os.sep) + SUFFIX
    _clear(home)
    refuse_taken(out)
    try:
        os.makedirs(os.path.dirname(os.path.abspath(home)), exist_ok=True)
        os.mkdir(home)
        descriptor = os.open(os.path.join(home, MARK), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise AuditError(f"{home}: cannot be made: {error.strerror or error}") from error
    try:
        with suppress(OSError):  # a file system without locks
            flock(descriptor, LOCK_EX | LOCK_NB)
        os.mkdir(os.path.join(home, MODEL))
        yield Scratch(out, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)
        os.close(descriptor)


def _clear(home: str) -> None:
    """Delete what a killed call left. Raises RefusedError for a directory that is in use, or is none of ours."""
    from fcntl import LOCK_EX, LOCK_NB, flock

    if not os.path.lexists(home):
        return
    try:
        names = [] if os.path.islink(home) else os.listdir(home)
    except OSError:
        names = ["?"]
    ours = not os.path.islink(home) and set(names) <= {MARK, MODEL} and (MARK in names or not names)
    if not ours:
        raise RefusedError(f"{home}: is in the way and was not made by audit merge; move it away, or give another OUT")
    if names:
        try:
            descriptor = os.open(os.path.join(home, MARK), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise AuditError(f"{home}: the remains of a killed call cannot be opened: {error.strerror}") from error
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError as error:
            raise RefusedError(f"{home}: another audit merge writes there; wait for it, or give another OUT") from error
        except OSError:
            pass  # a file system without locks
        finally:
            os.close(descriptor)
    try:
        shutil.rmtree(home)
    except OSError as error:
        raise AuditError(
            f"{home}: the remains of a killed call cannot be deleted: {error.strerror or error}"
        ) from error
