"""Several files of the inbox that are trained as one batch: which, and how long a daemon waits for more."""

import os
import time

from audit.training.config import Data
from audit.training.data_files import DataFile
from audit.training.mixing import Source


class Gathering:
    """Gathers files in the order of their names until they have ``data.group`` rows.

    Files of another format are another batch. A daemon (``patient``) waits for more until the oldest has waited
    ``data.group_seconds`` in the inbox; a call that ends takes what there is.
    """

    def __init__(self, data: Data, patient: bool) -> None:
        self._wanted, self._seconds, self._patient = data.group or 1, data.group_seconds, patient
        self._first_seen: dict[str, float] = {}
        self.files: list[Source] = []
        self._format: str | None = None
        self._full = False

    def begin(self) -> None:
        """Begin anew: none is gathered."""
        self.files, self._format, self._full = [], None, False

    def add(self, source: Source, format: str) -> bool:
        """Add a file; return whether more may follow. A file of another format is left for the next batch."""
        if self.files and format != self._format:
            self._full = True
            return False
        self.files.append(source)
        self._format = format
        self._full = self._wanted <= sum(item.of_all for item in self.files)
        return not self._full

    def close(self) -> None:
        """The batch is as large as it can be: what follows is trained by itself."""
        self._full = bool(self.files)

    def twin(self, source: Source) -> DataFile | None:
        """Return the gathered file of the same rows, None if there is none."""
        return next((item.file for item in self.files if item.rows_digest == source.rows_digest), None)

    def left(self) -> float:
        """Return how many seconds to wait for more files; 0 if what was gathered is to be trained now."""
        waited = [self._waited(item.file) for item in self.files]
        kept = {item.file.path for item in self.files}
        self._first_seen = {path: since for path, since in self._first_seen.items() if path in kept}
        if not self.files or self._full or not self._patient:
            return 0.0
        return max(0.0, self._seconds - max(waited))

    def _waited(self, file: DataFile) -> float:
        """How long a file has been in the inbox: since its status changed, as it does when it is moved.

        At least since it was seen here first, whatever the clock of another machine says.
        """
        now = time.monotonic()
        seen = now - self._first_seen.setdefault(file.path, now)
        try:
            return max(seen, time.time() - os.stat(file.path).st_ctime)
        except OSError:
            return seen
