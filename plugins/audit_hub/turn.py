"""One process at a time works off the queue of a run, and none that is needed is missing.

Whoever comes while one works waits for it, unless somebody waits already: that one will read the queue after it, and so
sees all that was queued before. So there are at most two, however many are started.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from audit.plugin import AUDIT_DIR, AuditError, RefusedError

WORKING, WAITING = "push.lock", "push.next"


@contextmanager
def turn(run: str, wait: bool) -> Iterator[int | None]:
    """Give the descriptor of the lock when it is this process's turn; None if another will do it.

    Without ``wait``, RefusedError is raised if another process is at work. Raises AuditError.
    """
    from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock

    working = _open(run, WORKING)
    waiting = _open(run, WAITING)
    mine = False
    try:
        try:
            flock(working, LOCK_EX | LOCK_NB)
            mine = True
        except BlockingIOError:
            if not wait:
                raise RefusedError(
                    f"{run}: another process is pushing, and takes what is queued; see audit hub list {run}"
                ) from None
        if not mine:
            try:
                flock(waiting, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                yield None
                return
            flock(working, LOCK_EX)
            flock(waiting, LOCK_UN)
        yield working
    except OSError as error:
        raise AuditError(f"{run}: the queue of pushes cannot be locked: {error.strerror or error}") from error
    finally:
        os.close(working)
        os.close(waiting)


def _open(run: str, name: str) -> int:
    home = os.path.join(run, AUDIT_DIR)
    path = os.path.join(home, name)
    if os.path.islink(home):
        raise AuditError(f"{home}: is a link, so nothing is locked")
    try:
        os.makedirs(home, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        raise AuditError(f"{path}: cannot be locked: {error.strerror or error}") from error
