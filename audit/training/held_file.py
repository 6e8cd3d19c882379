"""The data file of a batch, kept under a second name from the first leg until it is retired.

If a file of the inbox is replaced (by ``mv``, rsync, an editor) or deleted, the held one may be its last copy: a leg
still reads it, in this call or the next one, and it is what is retired in the end. The second name is a hidden hard
link beside the first, so that it is never taken for a new file. If the file system has no hard links, or the file
belongs to somebody else, the file is trained under its own name, and a change is only noticed
(:func:`audit.training.data_files.unchanged`).
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress

from audit.errors import AuditError
from audit.training.data_files import DataFile, digest_of, seen, split_name, unchanged

PREFIX = ".held-"
_TAKEN = ".taken"


class HeldFiles:
    """The held files of one inbox; their names contain the beginning of their digest."""

    def __init__(self, inbox: str) -> None:
        self._inbox = inbox

    def hold(self, file: DataFile, digest: str) -> DataFile | None:
        """Hold a file of the inbox; return the file to train from, None if it has changed."""
        if os.path.islink(file.path):
            return None  # put in its place since it was looked at
        if os.path.dirname(file.path) != self._inbox or os.path.basename(file.path).startswith(PREFIX):
            return file if unchanged(file) else None
        path = self._path(file.name, digest)
        taken = f"{path}{_TAKEN}"
        try:
            with suppress(FileNotFoundError):
                os.unlink(taken)  # of a call that was killed
            os.link(file.path, taken, follow_symlinks=False)
        except OSError:
            return file if unchanged(file) else None
        try:
            if seen(taken, file.name) != file._replace(path=taken) or not unchanged(file):
                return None  # the held file, if there is one, stays: it may be the last copy
            os.replace(taken, path)
            return file._replace(path=path)
        except OSError:
            return file if unchanged(file) else None
        finally:
            with suppress(OSError):
                os.unlink(taken)  # it also stays if both names were links to one file: rename(2)

    def find(self, name: str, digest: str) -> DataFile | None:
        """Return the held file of a batch, None if there is none."""
        path = self._path(name, digest)
        file = seen(path, name or "data") if not os.path.islink(path) else None
        try:
            return file if file is not None and digest_of(file) == digest else None
        except AuditError:
            return None

    def names_of(self, files: Iterable[DataFile]) -> list[str]:
        """Return the names of those files that are held."""
        held = set()
        with suppress(OSError):
            for name in os.listdir(self._inbox):
                if name.startswith(PREFIX):
                    held.add(os.lstat(os.path.join(self._inbox, name)).st_ino)
        return [file.name for file in files if file.stamp[2] in held]

    def inode(self, name: str, digest: str) -> int | None:
        """Return the inode of the file that has the held name of a batch, whatever is in it now."""
        file = seen(self._path(name, digest), name or "data")
        return file.stamp[2] if file is not None else None

    def take(self, file: DataFile, digest: str) -> DataFile:
        """Take a file whose digest is known out of the inbox: it then has the held name alone.

        A file that is put in its place at this moment stays in the inbox. Raises AuditError.
        """
        path = self._path(file.name, digest)
        taken = f"{path}{_TAKEN}"
        held = seen(path, file.name)
        try:
            os.rename(file.path, taken)
            if seen(taken, file.name) != file._replace(path=taken):  # replaced since its digest was read
                _put_back(taken, file.path)
                return held if held is not None else file
            if held is None:
                os.rename(taken, path)
            else:
                os.unlink(taken)
        except OSError as error:
            raise AuditError(f"{file.path}: cannot be renamed: {error.strerror or error}") from error
        return held if held is not None else file._replace(path=path)

    def release(self, name: str, digest: str) -> None:
        """Remove the second name."""
        with suppress(OSError):
            os.unlink(self._path(name, digest))

    def left(self) -> Iterator[DataFile]:
        """Remove second names of files that have another one; yield the files that have none."""
        try:
            names = sorted(os.listdir(self._inbox))
        except OSError:
            return
        for name in names:
            path = os.path.join(self._inbox, name)
            if name.startswith(PREFIX) and not os.path.islink(path):
                with suppress(OSError):
                    if os.lstat(path).st_nlink > 1:
                        os.unlink(path)
                        continue
                file = seen(path, name.removeprefix(PREFIX).removesuffix(_TAKEN))
                if file is not None:
                    yield file

    def _path(self, name: str, digest: str) -> str:
        # Both may come from the ledger, which is untrusted: the path must not lead out of the inbox.
        known, extension = re.sub("[^0-9a-z]", "", digest[:32]), re.sub("[^.0-9A-Za-z]", "", os.path.splitext(name)[1])
        return os.path.join(self._inbox, f"{PREFIX}{known}{extension}")


def _put_back(path: str, where: str) -> None:
    """Give a file its own name again, or one with a number if yet another file has it now."""
    stem, extension = split_name(where)
    number = 0
    while True:
        try:
            os.link(path, f"{stem}{f'.{number}' if number else ''}{extension}", follow_symlinks=False)
            os.unlink(path)
            return
        except FileExistsError:
            number += 1
