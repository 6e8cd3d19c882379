"""One process at a time trains or prunes a run: an advisory lock on ``<run>/.audit/lock``.

The operating system holds the lock (``flock``) and releases it when the last process that has the file open ends,
however it ends, so there is no stale lock to clear by hand. The content of the file (JSON: ``pid``, ``host``, ``what``,
``since``) is only for the message. The file is never removed: two processes could then lock two files.
"""

import errno
import json
import os
import stat
import time
from typing import Any, NamedTuple

from audit.audit_dir import AUDIT_DIR, LOCK, refuse_links
from audit.errors import AuditError, RefusedError
from audit.text import utc_time

PATIENCE_SECONDS = 0.3
"""How long a held lock is tried again: :func:`holder_of` holds it for an instant."""
_LONGEST = 4096
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class Holder(NamedTuple):
    """Who holds a lock, according to the file; ``pid`` is 0 and the others are empty if it does not say."""

    pid: int = 0
    host: str = ""
    what: str = ""
    since: str = ""

    def __str__(self) -> str:
        """Words for a message: ``is being trained by process 4711 since 2026-11-21T12:30:00Z``."""
        what = self.what or "worked on"
        if not self.pid:
            return f"is being {what} by another process"
        if self.host != _host():
            return f"is being {what} by process {self.pid} on {self.host} since {self.since}"
        if self.pid == os.getpid():
            return f"is being {what} by this process since {self.since}"
        if not alive(self.pid):
            return f"was being {what} by process {self.pid} since {self.since}; that process has ended, but a child of it is still running"
        return f"is being {what} by process {self.pid} since {self.since}"


class RunLock:
    """Hold ``<run>/.audit/lock`` in a ``with`` statement; ``what`` is what is done to the run: "trained", "pruned".

    Entering does not wait for another holder: it raises RefusedError, which names the holder, or another AuditError if
    the lock cannot be made (read-only, full disk, a link in its place). The run's directory is made if need be.

    If the file system has no locks (some cluster file systems), the body runs nevertheless, and ``unprotected`` says
    why: the caller should tell the user.
    """

    def __init__(self, run: str, what: str) -> None:
        self.run = run
        self.what = what
        self.path = os.path.join(run, LOCK)
        self.unprotected: str | None = None
        self._descriptor = -1
        self._shared = False

    def __enter__(self) -> "RunLock":
        from fcntl import LOCK_EX

        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            descriptor = self._open()
            try:
                taken = self._take(descriptor, LOCK_EX)
                if taken and _same(descriptor, self.path):
                    self._sign(descriptor)
                    self._descriptor = descriptor
                    return self
                # A lock on a file that somebody deleted meanwhile keeps nobody out.
                problem = None if taken else f"{self.run}: {_read(descriptor)}"
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            if problem and time.monotonic() > deadline:
                raise RefusedError(problem)
            time.sleep(0.01)

    def __exit__(self, *exc: object) -> None:
        from fcntl import LOCK_UN, flock

        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        try:
            if not self._shared:
                # Forked workers have the descriptor, too, so closing it alone would not release the lock.
                if os.fstat(descriptor).st_nlink == 1:
                    os.ftruncate(descriptor, 0)
                flock(descriptor, LOCK_UN)
        except OSError:
            pass  # closing releases it as well
        finally:
            os.close(descriptor)

    @property
    def held(self) -> bool:
        """Whether the body of the ``with`` statement is running."""
        return self._descriptor >= 0

    def fileno(self) -> int:
        """Return the descriptor for a child that keeps the lock until it ends, even if this process is killed.

        Give it to ``subprocess.Popen(pass_fds=[lock.fileno()])``, or make it inheritable before an ``exec``. From then
        on, leaving the ``with`` statement closes the file here; the lock ends with the last process that has it open.
        """
        if self._descriptor < 0:
            raise ValueError("the lock is not held")
        self._shared = True
        return self._descriptor

    def _open(self) -> int:
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            refuse_links(self.run, AUDIT_DIR, "the run is not locked")
            # A FIFO in its place would hang without O_NONBLOCK, a link could lead anywhere.
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(self.path, flags, 0o666)
        except OSError as error:
            home = os.path.dirname(self.path)
            if os.path.lexists(home) and not os.path.isdir(home):
                raise AuditError(f"{home}: is not a directory, so the run is not locked; move it away") from error
            reason = "is a link" if error.errno == errno.ELOOP else error.strerror or str(error)
            raise AuditError(f"{self.path}: cannot be locked: {reason}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise AuditError(f"{self.path}: is not a file, so the run is not locked")
        return descriptor

    def _take(self, descriptor: int, how: int) -> bool:
        from fcntl import LOCK_NB, flock

        try:
            flock(descriptor, how | LOCK_NB)
        except (BlockingIOError, PermissionError):  # POSIX allows both for "held"
            return False
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise AuditError(f"{self.path}: cannot be locked: {error.strerror or error}") from error
            self.unprotected = (
                f"{self.path}: this file system has no locks, so a second process could train here at the same time"
            )
        return True

    def _sign(self, descriptor: int) -> None:
        since = utc_time()
        holder = Holder(os.getpid(), _host(), self.what, since)
        if (
            os.fstat(descriptor).st_nlink > 1
        ):  # its other name may be any file of the user; the lock is held nevertheless
            return
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder._asdict()).encode("ascii") + b"\n", 0)
        except OSError:
            pass  # a full disk: the lock is held, the message says less


def holder_of(run: str) -> Holder | None:
    """Return who trains or prunes a run right now, None if nobody does. Changes nothing, needs no write access."""
    from fcntl import LOCK_NB, LOCK_SH, flock

    try:
        descriptor = os.open(os.path.join(run, LOCK), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        flock(descriptor, LOCK_SH | LOCK_NB)
    except (BlockingIOError, PermissionError):
        return _read(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def _read(descriptor: int) -> Holder:
    """Read what the holder wrote; the file is untrusted, so its shape is checked."""
    try:
        found: Any = json.loads(os.pread(descriptor, _LONGEST, 0))
        pid, texts = found["pid"], [found[name] for name in ("host", "what", "since")]
    except (OSError, ValueError, RecursionError, TypeError, KeyError):
        return Holder()
    if not isinstance(pid, int) or isinstance(pid, bool) or not 0 < pid < 1 << 31:
        return Holder()
    if not all(isinstance(text, str) and len(text) < 300 for text in texts):
        return Holder()
    return Holder(pid, *texts)


def _same(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def alive(pid: int) -> bool:
    """Return whether a process of this machine is running, or may be."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _host() -> str:
    return os.uname().nodename


__all__ = ["Holder", "RunLock", "alive", "holder_of"]
