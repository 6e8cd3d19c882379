"""The data file of a batch, held under a second name while it is trained.

Whoever replaces a file of the inbox (``mv``, rsync, an editor) puts another file under its name; the leg still reads the one
that its batch is known by, and that one is retired in the end. The second name is a hard link beside the first, hidden, so
that it is never taken for a new file. Where the file system has no hard links, or the file belongs to somebody else, the
file is trained under its own name, and a change is only noticed (:func:`audit.training.inbox.unchanged`).
"""

import os
import re
from contextlib import suppress

from audit.errors import AuditError
from audit.training.data_files import DataFile, digest_of, seen, unchanged

PREFIX = ".held-"


class HeldFiles:
    """The held files of one inbox; their names carry the beginning of their digest."""

    def __init__(self, inbox: str) -> None:
        self._inbox = inbox

    def hold(self, file: DataFile, digest: str) -> DataFile | None:
        """Hold a file that lies in the inbox; return what to train from, None where it is another file by now."""
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
        """Return the held file of a batch, None where there is none."""
        file = seen(self._path(name, digest), name or "data")
        try:
            return file if file is not None and digest_of(file) == digest else None
        except AuditError:
            return None

    def release(self, name: str, digest: str) -> None:
        """Give up the second name."""
        with suppress(OSError):
            os.unlink(self._path(name, digest))

    def release_all(self) -> None:
        """Give up what is left of batches that nobody goes on with."""
        with suppress(OSError):
            for name in os.listdir(self._inbox):
                if name.startswith(PREFIX):
                    os.unlink(os.path.join(self._inbox, name))

    def _path(self, name: str, digest: str) -> str:
        # Both may come from the ledger, thus from an enemy: nothing of them leads out of the inbox.
        known, extension = re.sub("[^0-9a-z]", "", digest[:32]), re.sub("[^.0-9A-Za-z]", "", os.path.splitext(name)[1])
        return os.path.join(self._inbox, f"{PREFIX}{known}{extension}")
