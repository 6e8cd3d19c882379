"""Where data files go once they are trained, refused, or found to be duplicates."""

import os
from collections.abc import Collection
from contextlib import suppress

from audit.backend.training import BadData, Note
from audit.ledger import batch_events as rows
from audit.ledger.back_events import Dropped
from audit.ledger.batches import Batch
from audit.ledger.timeline import Timeline
from audit.training.batch_log import BatchLog
from audit.training.config import Data
from audit.training.data_files import DataFile, DataFiles
from audit.training.events import Emit, FileDropped, FileDuplicate, FileRejected, FileRetired
from audit.training.held_file import HeldFiles
from audit.training.inbox import move, retire, set_aside


class Filing:
    """Moves the files of one call, and records where they went; ``held_files`` are those of batches that were begun."""

    def __init__(self, data: Data, files: DataFiles, batch_log: BatchLog, emit: Emit) -> None:
        self._data, self._files, self._batch_log, self._emit = data, files, batch_log, emit
        self.held_files = HeldFiles(data.inbox)
        self.set_aside = 0
        """Files that were not trained."""

    def retire(self, timeline: Timeline) -> bool:
        """Move the data of finished batches away; return whether there was one."""
        done = [file for item in timeline.batches if item.state == rows.FINISHED for file in item.files]
        for batch in done:
            if batch.state == rows.RETIRED:
                continue  # one of several files, in a call that was killed
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

    def find(self, batch: Batch, held: bool = True) -> tuple[DataFile | None, ...]:
        """Return the data files of a batch, None for each that is gone; ``held``: also under their second names."""
        found = []
        for item in batch.files:
            file = self._files.find(item)
            if file is None and held:
                file = self.held_files.find(item.file, item.digest)
            found.append(file)
        return tuple(found)

    def give_up(self, batch: Batch, step: int, files: tuple[DataFile | None, ...]) -> None:
        """Record that a batch of several files, of which some are gone, is given up at ``step``.

        If some of it was trained, it is unknown which examples of the other files were: they are set aside. If nothing
        was, they are put into the inbox again.
        """
        begun = step > batch.first_step
        gone = ", ".join(item.file for item, file in zip(batch.files, files, strict=True) if file is None)
        for item, file in zip(batch.files, files, strict=True):
            if file is None:
                self._batch_log.record(rows.Lost(item.digest, item.file, step))
            elif begun:
                reason = f"was trained together with {gone}, which is gone: it is unknown what is left to train of it"
                self.aside(file, rows.Rejected(item.digest, item.file, reason))
            elif os.path.dirname(file.path) == self._data.done:
                self.put_back(file)
        given_up = rows.Lost(batch.digest, batch.file, step) if begun else rows.Dissolved(batch.digest, batch.file)
        self._batch_log.record(given_up)
        self._emit(Note(f"{gone}: skipped from step {step} on"))

    def put_back(self, file: DataFile) -> None:
        """Move a file from ``done`` to the inbox."""
        to = move(file, self._data.inbox)
        self._emit(Note(f"{file.name}: put back into the inbox as {os.path.basename(to)}, to be trained again"))

    def release(self, timeline: Timeline) -> None:
        """Remove the second names that are left. The last copy of what was never trained goes to ``rejected``."""
        for file in self.held_files.left():
            digest = self._files.digest(file)
            batch = timeline.batch(digest)
            if batch is not None and batch.state == rows.RETIRED:
                with suppress(OSError):
                    os.unlink(file.path)
                continue
            name = batch.file if batch is not None else file.name
            to = set_aside(file, self._data)
            self._emit(Note(f"{to}: the last copy of {name}, which was removed from the inbox before it was trained"))

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

    def take_apart(self, timeline: Timeline, step: int, dropped: Collection[str]) -> None:
        """Put the files of each group that has one of the ``dropped`` into the inbox, but for those.

        So it is where the run goes back to a ``step`` at which nothing of the group is trained.
        """
        for batch in (*timeline.batches, *timeline.redo):
            if batch.digest in timeline.over or not any(part.batch in dropped for part in batch.parts):
                continue
            for item, file in zip(batch.files, self.find(batch), strict=True):
                if item.digest in dropped:
                    continue
                if file is None:
                    self._batch_log.record(rows.Lost(item.digest, item.file, step))
                elif os.path.dirname(file.path) != self._data.inbox:
                    self.put_back(file)
            self._batch_log.record(rows.Dissolved(batch.digest, batch.file))

    def drop(self, digest: str, name: str) -> None:
        """Set aside the file of a batch that is never to be trained again, with every copy of it."""
        held = self.held_files.find(name, digest)
        copies = self._files.copies(digest) or ((held,) if held is not None else ())
        # Those that are in rejected already come last: a call that was killed has moved them, or they were a duplicate.
        copies = (*sorted(copies, key=lambda file: file.name != name), *self._files.rejected_copies(digest))
        to = next(iter([set_aside(file, self._data) for file in copies]), None)
        self.held_files.release(name, digest)
        self._batch_log.record(Dropped(digest, name, to))
        self._emit(FileDropped(name, to))

    def changed_since(self, batch: Batch) -> str | None:
        """Return the path of the file in the inbox that is no longer what it was when the batch began, else None."""
        waiting = self._files.waiting()
        for item in batch.files:
            inode = self.held_files.inode(item.file, item.digest)  # written to in place: both names lead to it
            found = [file for file in waiting if file.stamp[2] == inode and self._files.digest(file) != item.digest]
            found += [file for file in waiting if file.name == item.file and self._files.digest(file) != item.digest]
            if found:
                return found[0].path
        return None
