"""When a data file in the inbox is complete, and where it goes after the training."""

import errno
import os
import shutil
import stat
import time
from contextlib import suppress

from audit.errors import AuditError
from audit.retention.copying import sync
from audit.training.config import DELETE, Data
from audit.training.data_files import DataFile, split_name

LOCAL = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "tmpfs", "xfs"})
"""File systems on which Linux knows who has a file open."""


class Stillness:
    """Which files are complete: unchanged for ``seconds``, and not open for writing in any program.

    0 seconds: every file is complete, as it is if files only ever appear by renaming.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[str, tuple[tuple[int, int, int], float]] = {}

    def left(self, file: DataFile) -> float:
        """Return how many seconds to wait until the file may be complete; 0 if it is."""
        if not self._seconds:
            return 0.0
        age = time.time() - file.stamp[1] / 1e9
        if age < 0:  # another machine's clock is ahead, or this one was set back: count from when it was first seen
            stamp, since = self._since.get(file.path, (None, 0.0))
            if stamp != file.stamp:
                since = time.monotonic()
                self._since[file.path] = file.stamp, since
            age = time.monotonic() - since
        left = max(0.0, self._seconds - age)
        return self._seconds if not left and being_written(file.path) else left


def settled(file: DataFile, seconds: float) -> float:
    """Return how many seconds to wait until a file that is new here may be complete; 0 if it is."""
    return Stillness(seconds).left(file)


def being_written(path: str) -> bool:
    """Whether a program on this machine has the file open for writing, as far as that can be known.

    Linux grants a lease for reading only on a file that nobody has open for writing, and only to its owner or to root
    (fcntl(2), F_SETLEASE); it is given back at once.
    """
    import fcntl
    import signal

    if not hasattr(fcntl, "F_SETLEASE") or not hasattr(fcntl, "F_SETSIG"):
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # If another program opens the file during the lease, this process gets a signal: one that it ignores.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN and _local(os.fstat(descriptor).st_dev)
    finally:
        os.close(descriptor)
    return False


def _local(device: int) -> bool:
    """Whether a refused lease means a writer: NFS and CIFS refuse one for other reasons, too."""
    name = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            found = [line.partition(" - ")[2].split()[0] for line in mounts if line.split()[2] == name]
    except (OSError, IndexError):
        return False
    return any(kind in LOCAL for kind in found)


def retire(file: DataFile, data: Data) -> str | None:
    """Move a trained file to ``done``, or delete it; return its new path. Raises AuditError."""
    if data.after == DELETE:
        try:
            os.unlink(file.path)
        except OSError as error:
            raise AuditError(f"{file.path}: cannot be deleted: {error.strerror or error}") from error
        return None
    return move(file, data.done)


def set_aside(file: DataFile, data: Data) -> str:
    """Move a file that is not trained to ``rejected``, untouched; return its new path. Raises AuditError."""
    if os.path.dirname(file.path) == data.rejected:
        return file.path
    return move(file, data.rejected)


def _copy(path: str, target: str) -> None:
    """Copy under a hidden name first: a partial copy must not be taken for the file."""
    aside = os.path.join(os.path.dirname(target), f".{os.path.basename(target)[:200]}.part")
    try:
        if os.path.islink(path):
            os.symlink(os.readlink(path), aside)
        else:
            shutil.copy2(path, aside)
            sync(aside)  # the original is deleted next
        os.rename(aside, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(aside)
        raise


def _same(path: str, other: str) -> bool:
    import filecmp

    both = all(stat.S_ISREG(os.lstat(name).st_mode) for name in (path, other))
    return both and filecmp.cmp(path, other, shallow=False)


def move(file: DataFile, home: str) -> str:
    """Move a file into ``home`` without overwriting another one: a second ``a.jsonl`` becomes ``a.1.jsonl``."""
    stem, extension = split_name(file.name)
    try:
        os.makedirs(home, exist_ok=True)
        number = 0
        while True:
            target = os.path.join(home, f"{stem}{f'.{number}' if number else ''}{extension}")
            try:
                os.link(file.path, target, follow_symlinks=False)
            except FileExistsError:
                # Killed between the link or the copy and the unlink, last time. On another file system, too, a target
                # that is there is said first (link(2)).
                if os.path.samestat(os.lstat(file.path), os.lstat(target)) or _same(file.path, target):
                    os.unlink(file.path)
                    return target
                number += 1
                continue
            except OSError:  # another file system, or one without links
                if not os.path.lexists(target):
                    _copy(file.path, target)
                elif not _same(file.path, target):  # the same: killed between the copy and the unlink, last time
                    number += 1
                    continue
            os.unlink(file.path)
            return target
    except OSError as error:
        raise AuditError(f"{file.path}: cannot be moved to {home}: {error.strerror or error}") from error
