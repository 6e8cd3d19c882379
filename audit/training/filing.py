"""Where data files go once they are trained, refused, or found to be duplicates."""

import os
from contextlib import suppress

from audit.backend.training import BadData, Note
from audit.ledger import batch_events as rows
from audit.ledger.back_events import Dropped
from audit.ledger.timeline import Batch, Timeline
from audit.training.batch_log import BatchLog
from audit.training.config import Data
from audit.training.data_files import DataFile, DataFiles
from audit.training.events import Emit, FileDropped, FileDuplicate, FileRejected, FileRetired
from audit.training.held_file import HeldFiles
from audit.training.inbox import retire, set_aside


class Filing:
    """Moves the files of one call, and records where they went; ``held_files`` are those of batches that were begun."""

    def __init__(self, data: Data, files: DataFiles, batch_log: BatchLog, emit: Emit) -> None:
        self._data, self._files, self._batch_log, self._emit = data, files, batch_log, emit
        self.held_files = HeldFiles(data.inbox)
        self.set_aside = 0
        """Files that were not trained."""

    def retire(self, timeline: Timeline) -> bool:
        """Move the data of finished batches away; return whether there was one."""
        done = [item for item in timeline.batches if item.state == rows.FINISHED]
        for batch in done:
            # The held file is what was trained. One of the same bytes in the inbox is the same file, or a copy of it.
            file = self._files.find(batch, inbox=True)
            held = self.held_files.find(batch.file, batch.digest)
            to = None
            if file is not None:
                held = self.held_files.take(file, batch.digest)
            if held is not None:
                to = retire(held, self._data)
                self._emit(FileRetired(held.name, to))
            self._batch_log.record(rows.Retired(batch.digest, batch.file, to))
        return bool(done)

    def release(self, timeline: Timeline) -> None:
        """Remove the second names that are left. The last copy of what was never trained goes to ``rejected``."""
        for file in self.held_files.left():
            digest = self._files.digest(file)
            batch = timeline.batch(digest)
            if batch is not None and batch.state == rows.RETIRED:
                with suppress(OSError):
                    os.unlink(file.path)
                continue
            to = set_aside(file, self._data)
            self._emit(Note(f"{to}: was held for a batch that was not trained, and has no other name in the inbox"))

    def reject(self, file: DataFile, digest: str, error: BadData) -> None:
        where = f"row {error.row}: " if error.row is not None else ""
        self.aside(file, rows.Rejected(digest, file.name, f"{where}{error.reason}"))

    def aside(self, file: DataFile, row: rows.Rejected | rows.Duplicate) -> None:
        self.set_aside += 1
        to = set_aside(file, self._data)
        self.held_files.release(file.name, row.batch)
        self._batch_log.record(row._replace(to=to))
        shown = FileRejected if isinstance(row, rows.Rejected) else FileDuplicate
        self._emit(shown(file.name, row.reason or "", to))

    def drop(self, batch: Batch | None, digest: str, name: str) -> None:
        """Set aside the file of a batch that is never to be trained again."""
        file = self._files.find(batch) if batch is not None else None
        file = file or self.held_files.find(name, digest)
        to = set_aside(file, self._data) if file is not None else None
        self.held_files.release(name, digest)
        self._batch_log.record(Dropped(digest, name, to))
        self._emit(FileDropped(name, to))

    def changed_since(self, batch: Batch) -> str | None:
        """Return the path of the file in the inbox that is no longer what it was when the batch began, else None."""
        waiting = self._files.waiting()
        inode = self.held_files.inode(batch.file, batch.digest)  # written to in place: both names lead to it
        found = [file for file in waiting if file.stamp[2] == inode]
        found += [file for file in waiting if file.name == batch.file and self._files.digest(file) != batch.digest]
        return found[0].path if found else None
