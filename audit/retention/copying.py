"""Copy a checkpoint's files: by hard link, by reflink (shared until one side is written), or byte by byte."""

import errno
import os
import shutil
from collections.abc import Iterable, Sequence

from audit.errors import AuditError

WAYS = ("auto", "link", "reflink", "copy")
_FICLONE = 0x40049409
"""Linux, ioctl_ficlone(2): the new file shares the blocks of the old one; btrfs, XFS, bcachefs."""
_BLOCK = 1 << 20


def copy_tree(source: str, target: str, files: Sequence[str], directories: Iterable[str], how: str) -> str:
    """Make ``target`` with copies of ``files`` of ``source`` (relative paths), and return how they were copied.

    ``how`` is "link", "reflink", "copy", or "auto": reflinks where the file system has them, else bytes. Links inside
    ``source`` become files. Times and modes are those of the originals, and all is on the disk when this returns.
    Raises AuditError and leaves what was made so far.
    """
    way = how
    try:
        os.mkdir(target)
        for name in sorted(directories):
            os.mkdir(os.path.join(target, name))
        for place, name in enumerate(files):
            way = _copy(os.path.join(source, name), os.path.join(target, name), way)
            if way == "copy" and place == 0:
                _refuse_without_space(source, target, files)
        for name in sorted(directories, reverse=True):
            _finish(os.path.join(source, name), os.path.join(target, name))
        _finish(source, target)
    except FileNotFoundError as error:
        raise AuditError(f"{source}: was deleted or changed while it was copied; try again") from error
    except OSError as error:
        raise AuditError(f"{source}: cannot be copied to {target}: {_reason(error, how)}") from error
    return "copy" if way == "auto" else way


def _copy(source: str, target: str, way: str) -> str:
    """Copy one file; "auto" becomes what worked for the first one."""
    if way == "link":
        os.link(os.path.realpath(source), target)
        return way
    with open(source, "rb") as old, open(target, "xb") as new:
        if way in ("auto", "reflink"):
            way = _clone(old.fileno(), new.fileno(), way)
        if way == "copy":
            shutil.copyfileobj(old, new, _BLOCK)
        new.flush()
        shutil.copystat(source, target)
        os.fsync(new.fileno())
    return way


def _clone(old: int, new: int, way: str) -> str:
    from fcntl import ioctl

    try:
        ioctl(new, _FICLONE, old)
    except OSError:
        if way == "reflink":
            raise
        return "copy"
    return "reflink"


def _refuse_without_space(source: str, target: str, files: Sequence[str]) -> None:
    """Raise OSError before the disk is full: a training may need the rest."""
    needed = sum(os.stat(os.path.join(source, name)).st_size for name in files[1:])
    about = os.statvfs(target)
    if about.f_bavail * about.f_frsize < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _finish(source: str, target: str) -> None:
    """Give a directory the time of the original, by which rotation sorts, and flush it to the disk."""
    shutil.copystat(source, target)
    sync(target)


def sync(path: str) -> None:
    """Flush a file's bytes, or a directory's names, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: OSError, how: str) -> str:
    if error.errno == errno.ENOSPC:
        return "no space left on device"
    if how == "link" and error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
        return f"hard links are not possible there ({error.strerror}); use --how copy"
    if how == "reflink":
        return f"reflinks are not possible there ({error.strerror}); use --how copy"
    return error.strerror or str(error)


__all__ = ["WAYS", "copy_tree", "sync"]
