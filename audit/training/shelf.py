"""Data files by what is in them: the file of a batch is known by its digest, whatever it is called now."""

from audit.ledger.events import RETIRED
from audit.ledger.timeline import Batch
from audit.training.config import Data
from audit.training.inbox import DataFile, digest_of, rejected, trained, unchanged, waiting


class Shelf:
    """The files of the inbox, of ``done`` and ``rejected``; each is read once for its digest, as long as it stays as it is."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._digests: dict[tuple[str, tuple[int, int, int]], str] = {}

    def waiting(self) -> tuple[DataFile, ...]:
        """Return the files of the inbox in the order of their names."""
        return waiting(self._data)

    def find(self, batch: Batch, inbox: bool = False) -> DataFile | None:
        """Return the file of a batch: by its digest, the one of the same name first.

        A batch that was trained before may lie among those that were set aside: a copy of it was dropped again.
        """
        places = self.waiting()
        if not inbox:
            places += trained(self._data)
            if batch.state == RETIRED or batch.legs > 1:
                places += rejected(self._data)
        for file in sorted(places, key=lambda item: item.name != batch.file):
            if self.digest(file) == batch.digest:
                return file
        return None

    def digest(self, file: DataFile) -> str:
        """Return the BLAKE3 digest of a file; empty where it is being written."""
        key = (file.path, file.stamp)
        if key not in self._digests:
            digest = digest_of(file)
            if not unchanged(file):
                return ""  # being written: it fits nothing
            self._digests[key] = digest
        return self._digests[key]
