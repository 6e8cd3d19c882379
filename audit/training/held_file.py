"""The data file of a batch, kept under a second name while it is trained.

If a file of the inbox is replaced (by ``mv``, rsync, an editor), its name leads to another file; the leg still reads
the one of its batch, which is retired in the end. The second name is a hidden hard link beside the first, so that it is
never taken for a new file. If the file system has no hard links, or the file belongs to somebody else, the file is
trained under its own name, and a change is only noticed (:func:`audit.training.data_files.unchanged`).
"""

import os
import re
from contextlib import suppress

from audit.errors import AuditError
from audit.training.data_files import DataFile, digest_of, seen, unchanged

PREFIX = ".held-"


class HeldFiles:
    """The held files of one inbox; their names contain the beginning of their digest."""

    def __init__(self, inbox: str) -> None:
        self._inbox = inbox

    def hold(self, file: DataFile, digest: str) -> DataFile | None:
        """Hold a file of the inbox; return the file to train from, None if it has changed."""
        if os.path.dirname(file.path) != self._inbox or os.path.basename(file.path).startswith(PREFIX):
            return file if unchanged(file) else None
        path = self._path(file.name, digest)
        try:
            with suppress(FileNotFoundError):
                os.unlink(path)  # of a call that was killed
            os.link(file.path, path, follow_symlinks=False)
        except OSError:
            return file if unchanged(file) else None
        if seen(path, file.name) == file._replace(path=path) and unchanged(file):
            return file._replace(path=path)
        with suppress(OSError):
            os.unlink(path)
        return None

    def find(self, name: str, digest: str) -> DataFile | None:
        """Return the held file of a batch, None if there is none."""
        file = seen(self._path(name, digest), name or "data")
        try:
            return file if file is not None and digest_of(file) == digest else None
        except AuditError:
            return None

    def release(self, name: str, digest: str) -> None:
        """Remove the second name."""
        with suppress(OSError):
            os.unlink(self._path(name, digest))

    def release_all(self) -> None:
        """Remove the second names of all batches."""
        with suppress(OSError):
            for name in os.listdir(self._inbox):
                if name.startswith(PREFIX):
                    os.unlink(os.path.join(self._inbox, name))

    def _path(self, name: str, digest: str) -> str:
        # Both may come from the ledger, which is untrusted: the path must not lead out of the inbox.
        known, extension = re.sub("[^0-9a-z]", "", digest[:32]), re.sub("[^.0-9A-Za-z]", "", os.path.splitext(name)[1])
        return os.path.join(self._inbox, f"{PREFIX}{known}{extension}")
