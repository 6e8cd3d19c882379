"""The daemon between two batches: wait for a complete file, take the daily snapshot. No run is judged meanwhile."""

import os
import time
from collections.abc import Callable, Iterable, Iterator

from audit.backend.names import is_rotated
from audit.backend.training import Note
from audit.errors import AuditError
from audit.text import local_date
from audit.training.data_files import DataFile, Ignored, InboxGone, ignored, waiting
from audit.training.events import FileIgnored, SnapshotMade, WaitingForFiles
from audit.training.session import Session

LONGEST_REST = 1.0
"""Seconds between two looks at a file system that reports no events (network mounts)."""
STEP_MS = 250
"""How often watchfiles polls for events; also how long a signal may have to wait."""
LONG_OPEN = 60.0
"""Seconds after which a note says that a file is still open for writing."""


class Watcher:
    """The daemon's part of one call of ``audit train --watch``; ``rest`` is called again and again while it waits."""

    def __init__(self, session: Session, rest: Callable[[], None] = lambda: None) -> None:
        try:
            import watchfiles  # noqa: F401  fail now, not when the daemon first waits
        except ImportError as error:
            raise AuditError(
                "--watch needs watchfiles, which is not installed: pip install 'checkpoint-audit[watch]'"
            ) from error
        self._session, self._rest = session, rest
        self._data, self._settle = session.config.data, session.config.watch.settle_seconds
        self._snapshots = session.config.watch.snapshots
        self._day: str | None = None
        self._trained: int | None = None
        self._said_open: set[str] = set()
        self._said_ignored: set[Ignored] = set()

    def wait(self) -> None:
        """Return when there is a complete file in the inbox; wait for the inbox if it is gone. Raises AuditError."""
        told = False
        if self._session.unsettled is not None:
            time.sleep(self._session.unsettled)
        elif self._session.gathered is not None:
            self._wait_for_more(*self._session.gathered)
            return
        while True:
            self._rest()
            self.daily_snapshot()
            self._session.days.tell()
            files = self._files()
            left = [self._session.stillness.left(file) for file in files]
            if any(not seconds for seconds in left):
                return
            if left:
                self._say_what_is_open(files)
                time.sleep(min(*left, LONGEST_REST))
                continue
            if not told:
                self._session.emit(WaitingForFiles(self._data.inbox))
                told = True
            self._say_what_is_ignored()
            for _ in _looks(self._data.inbox):
                self._rest()
                if self._something():
                    break

    def _wait_for_more(self, seconds: float, files: tuple[DataFile, ...]) -> None:
        """Return when there are other files than these in the inbox, or after so many seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.daily_snapshot()
            self._session.days.tell()
            if self._files() != files:
                return
            time.sleep(min(left, LONGEST_REST))

    def daily_snapshot(self, today: str | None = None) -> None:
        """Copy the newest proven checkpoint away, once a day if the configuration says where to.

        A day on which nothing was trained needs none. A failure is noted and tried again after the next batch or the
        next day; training continues without it.
        """
        from audit.retention.snapshots import snapshot

        session, day = self._session, today or local_date()
        if self._snapshots is None or self._day == day or self._trained == session.conclusion.trained:
            return
        if not session.trained_any() or self._taken_before(day):
            return
        self._trained = session.conclusion.trained
        try:
            made = snapshot(session.config.run, self._snapshots, session.options, registry=session.registry, today=day)
        except AuditError as error:
            session.emit(Note(f"no snapshot: {error}"))
            return
        self._day = day
        if made.made:
            session.emit(SnapshotMade(made.path, made.checkpoint))

    def _taken_before(self, day: str) -> bool:
        """Whether an earlier call took the day's snapshot: a daemon that is restarted often must not fill the disk."""
        assert self._snapshots is not None
        if self._trained is not None:
            return False
        try:
            taken = any(map(is_rotated, os.listdir(os.path.join(self._snapshots, day))))
        except OSError:
            return False
        if taken:
            self._day, self._trained = day, self._session.conclusion.trained
        return taken

    def _files(self) -> tuple[DataFile, ...]:
        """Return what is in the inbox, once it is there."""
        gone = False
        while True:
            try:
                files = waiting(self._data)
            except InboxGone:
                if not gone:
                    text = f"data.inbox: {self._data.inbox} does not exist; waiting for it"
                    self._session.emit(Note(text))
                gone = True
                self._rest()
                time.sleep(LONGEST_REST)
                continue
            if gone:
                self._session.emit(Note(f"data.inbox: {self._data.inbox} exists again"))
            return files

    def _something(self) -> bool:
        """Whether there is anything in the inbox to look at more closely, or no inbox, or a new day."""
        self._say_what_is_ignored()
        try:
            new_day = (self._snapshots is not None and self._day != local_date()) or self._session.days.due()
            return new_day or bool(waiting(self._data))
        except InboxGone:
            return True

    def _say_what_is_ignored(self) -> None:
        """Name each file that is never trained, once."""
        for item in ignored(self._data, LONG_OPEN):
            if item not in self._said_ignored:
                self._said_ignored.add(item)
                self._session.emit(FileIgnored(*item))

    def _say_what_is_open(self, files: Iterable[DataFile]) -> None:
        for file in files:
            if time.time() - file.stamp[1] / 1e9 > LONG_OPEN + self._settle and file.path not in self._said_open:
                self._said_open.add(file.path)
                text = f"{file.name}: a program still has it open for writing; it is trained once it is closed"
                self._session.emit(Note(text))


def _looks(inbox: str) -> Iterator[None]:
    """Yield when to look into the inbox: on each event there, or after a while."""
    from watchfiles import watch

    try:
        for _ in watch(
            inbox,
            watch_filter=None,
            debounce=STEP_MS,
            step=STEP_MS,
            rust_timeout=int(LONGEST_REST * 1000),
            yield_on_timeout=True,
            recursive=False,
        ):
            yield
    except (OSError, RuntimeError) as error:
        if os.path.isdir(inbox):
            raise AuditError(f"{inbox}: cannot be watched: {error}") from error
