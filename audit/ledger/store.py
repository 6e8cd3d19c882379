"""The run's own history, ``<run>/.audit/ledger.db``: observations, seals, what the guard handed out.

An SQLite file that any tool can open. Rows are only added; each has the digest of the one before, so a row that was
changed or removed is noticed. The file comes with the audited run and is untrusted: it must have exactly these tables,
links are not followed, and nothing in it is executed.
"""

import json
import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.audit_dir import LEDGER
from audit.errors import AuditError
from audit.ledger.events import ScansRemembered, event_of
from audit.text import utc_time

if TYPE_CHECKING:
    from audit.ledger.events import Event

VERSION = 1
LONGEST = 4 << 20
"""Bytes of one row's content; a seal of ten thousand files is below."""
MOST = 200_000
"""Rows that are read: a verification every minute for four months."""
LARGEST = 256 << 20
"""Bytes of the file with its side files, and of all text that is read from it."""
WAIT_SECONDS = 3.0
"""How long to wait for another process that has the file locked; a row takes it milliseconds."""
SIDE_FILES = ("-wal", "-shm", "-journal")
_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
"""A journal with this end names another file, which SQLite deletes after the recovery; ours never does."""

_SCHEMA = {
    "rows": (
        "CREATE TABLE rows (number INTEGER PRIMARY KEY, time TEXT NOT NULL, kind TEXT NOT NULL, "
        "content TEXT NOT NULL, digest TEXT NOT NULL)"
    ),
    "scans": (
        "CREATE TABLE scans (checkpoint TEXT NOT NULL, file TEXT NOT NULL, stamp TEXT NOT NULL, "
        "content TEXT NOT NULL, PRIMARY KEY (checkpoint, file))"
    ),
}


class _Row(NamedTuple):
    number: int
    time: str
    kind: str
    content: Mapping[str, Any]


class Row(_Row):
    """One entry as it was written; ``time`` is UTC in ISO 8601. :attr:`event` is what it records."""

    @cached_property
    def event(self) -> "Event | None":
        """What the row records, read once; None for a row of another shape."""
        return event_of(self.kind, self.content)


class LedgerError(AuditError):
    """The ledger cannot be used; the message says why. Verification goes on without it."""


class LedgerEditedError(LedgerError):
    """A row is not what was written: somebody changed the history."""


class LedgerUnwritableError(LedgerError):
    """There is no ledger yet and none can be made (read-only, full disk): nothing is lost."""


class Ledger:
    """An open ledger. Use :func:`open_ledger`."""

    def __init__(self, connection: sqlite3.Connection, path: str, writable: bool) -> None:
        self._connection = connection
        self.path = path
        self.writable = writable

    def rows(self) -> tuple[Row, ...]:
        """Return all rows in order. Raises LedgerError if a row was changed, added by hand or removed."""
        found = []
        before = ""
        total = 0
        with self._errors():
            query = "SELECT number, time, kind, content, digest FROM rows ORDER BY number LIMIT ?"
            for place, row in enumerate(self._connection.execute(query, (MOST + 1,)), 1):
                number, moment, kind, content, digest = row
                if (
                    set(map(type, row[1:])) != {str}
                    or number != place
                    or _digest(before, number, moment, kind, content) != digest
                ):
                    raise LedgerEditedError(f"{self.path}: row {place} is not what was written: the history was edited")
                total += len(content)
                if place > MOST or total > LARGEST:
                    raise LedgerError(f"{self.path}: is larger than a ledger can be; move it away")
                before = digest
                document = json.loads(content)
                if not isinstance(document, dict):
                    raise LedgerError(f"{self.path}: row {place} is not a JSON object")
                found.append(Row(number, moment, kind, document))
        return tuple(found)

    def append(self, event: "Event", durable: bool = False, time: str | None = None) -> None:
        """Add the row of an event. Several processes may do so at once. Raises LedgerError (full disk, read-only).

        A ``durable`` one is on the disk when this returns, so it survives a power failure. ``time``: that of a row of
        another ledger, which is copied; by default now.
        """
        with self._errors():
            if durable:
                self._connection.execute("PRAGMA synchronous = FULL")
            try:
                with self._transaction():
                    self._append(event, time)
            finally:
                if durable:
                    self._connection.execute("PRAGMA synchronous = NORMAL")

    def _append(self, event: "Event", time: str | None = None) -> None:
        kind, content = event.row()
        text = json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":"))
        if len(text) > LONGEST:
            raise LedgerError(f"{self.path}: an entry of {len(text)} bytes is too long")
        moment = time or utc_time()
        last = self._connection.execute("SELECT number, digest FROM rows ORDER BY number DESC LIMIT 1").fetchone()
        number, before = (last[0] + 1, last[1]) if last else (1, "")
        self._connection.execute(
            "INSERT INTO rows VALUES (?, ?, ?, ?, ?)",
            (number, moment, kind, text, _digest(before, number, moment, kind, text)),
        )

    def scans(self) -> dict[tuple[str, str], tuple[str, str]]:
        """Return the remembered scans: (stamp, JSON text) by (checkpoint, file)."""
        found: dict[tuple[str, str], tuple[str, str]] = {}
        total = 0
        with self._errors():
            for row in self._connection.execute("SELECT checkpoint, file, stamp, content FROM scans LIMIT ?", (MOST,)):
                if set(map(type, row)) != {str}:
                    continue
                total += len(row[3])
                if total > LARGEST:
                    raise LedgerError(f"{self.path}: is larger than a ledger can be; move it away")
                found[row[0], row[1]] = (row[2], row[3])
        return found

    def remember(self, checkpoint: str, scans: Mapping[str, tuple[str, str]], read_at: str | None = None) -> None:
        """Replace the remembered scans of one checkpoint by (stamp, JSON text) by file. Raises LedgerError.

        A row adds their digest to the chain; see :func:`scans_digest`. ``read_at``: when all of it had been read.
        """
        kept = {file: scan for file, scan in scans.items() if _is_utf8(file)}  # others are read each time
        with self._errors(), self._transaction():
            self._put_scans(checkpoint, kept, read_at)

    def restamp(self, checkpoint: str, renew: Callable[[str, str], str]) -> None:
        """Give the remembered scans of a checkpoint other stamps: ``renew(file, stamp)``. Raises LedgerError.

        Scans that the newest row about them does not vouch for stay as they are, and so are not believed.
        """
        with self._errors(), self._transaction():
            query = "SELECT file, stamp, content FROM scans WHERE checkpoint = ?"
            held = {file: (stamp, text) for file, stamp, text in self._connection.execute(query, (checkpoint,))}
            row = self._newest_scans(checkpoint)
            if row is None or row.digest != scans_digest(held):
                return
            new = {file: (renew(file, stamp), text) for file, (stamp, text) in held.items()}
            if new != held:
                self._put_scans(checkpoint, new, row.read_at)

    def _newest_scans(self, checkpoint: str) -> ScansRemembered | None:
        query = "SELECT time, content FROM rows WHERE kind = 'scans' ORDER BY number DESC LIMIT ?"
        for moment, content in self._connection.execute(query, (MOST,)):
            document = json.loads(content)
            event = ScansRemembered.read(document) if isinstance(document, dict) else None
            if event is not None and event.checkpoint == checkpoint:
                return event._replace(read_at=event.read_at or moment)
        return None

    def _put_scans(self, checkpoint: str, scans: Mapping[str, tuple[str, str]], read_at: str | None) -> None:
        self._connection.execute("DELETE FROM scans WHERE checkpoint = ?", (checkpoint,))
        self._connection.executemany(
            "INSERT INTO scans VALUES (?, ?, ?, ?)",
            [(checkpoint, file, stamp, text) for file, (stamp, text) in scans.items()],
        )
        self._append(ScansRemembered(checkpoint, scans_digest(scans), read_at))

    def forget(self, checkpoints: Iterable[str]) -> None:
        """Drop remembered scans of checkpoints that are gone; the rows stay. Raises LedgerError."""
        with self._errors(), self._transaction():
            self._connection.executemany(
                "DELETE FROM scans WHERE checkpoint = ?", [(name,) for name in sorted(checkpoints)]
            )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if not self.writable:
            raise LedgerError(f"{self.path}: cannot be written")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # SQLite ended it itself if the disk is full
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError, RecursionError, OverflowError, TypeError) as error:
            raise LedgerError(f"{self.path}: {error}") from error


def open_ledger(run: str, write: bool) -> Ledger | None:
    """Open a run's ledger; None if there is none and ``write`` is false.

    With ``write`` it is made if need be; an existing one that cannot be written (read-only, full disk) is opened for
    reading. Raises LedgerUnwritableError if there is none and none can be made, LedgerError if it is damaged, locked,
    of a newer version, or not a ledger of the audit.
    """
    path = os.path.join(run, LEDGER)
    home = os.path.dirname(path)
    exists = _check_place(home, path)
    if write:
        try:
            os.makedirs(home, exist_ok=True)
            return _checked(_connect(path, "rwc"), path, writable=True)
        except (OSError, sqlite3.Error) as error:
            _refuse_locked(path, error)
            if not exists:
                raise LedgerUnwritableError(f"{path}: cannot be written: {error}") from error
    if not exists:
        return None
    try:
        # Joining a write-ahead log makes side files, so that is done only if there is one.
        mode = "ro" if any(_size(path + suffix) for suffix in ("-wal", "-journal")) else "ro&immutable=1"
        return _checked(_connect(path, mode), path, writable=False)
    except sqlite3.Error as error:
        _refuse_locked(path, error)
        raise LedgerError(f"{path}: cannot be read: {error}") from error


def _refuse_locked(path: str, error: Exception) -> None:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise LedgerError(f"{path}: is locked by another process") from error


def _check_place(home: str, path: str) -> bool:
    """Return whether the ledger exists and is not empty.

    Raises LedgerError for a link in its place, which could lead anywhere, for a FIFO, which would hang, and for a file
    that is too large.
    """
    total = 0
    for place in (home, path, *(path + suffix for suffix in SIDE_FILES)):
        try:
            info = os.lstat(place)
        except FileNotFoundError:
            if place == home:
                return False
            continue
        except OSError as error:
            raise LedgerError(f"{place}: {error.strerror or error}") from error
        if not (stat.S_ISDIR(info.st_mode) if place == home else stat.S_ISREG(info.st_mode)):
            raise LedgerError(f"{place}: is not a {'directory' if place == home else 'file'}, so it is not used")
        total += 0 if place == home else info.st_size
    if total > LARGEST:
        raise LedgerError(f"{path}: is larger than a ledger can be; move it away")
    if _part(f"{path}-journal", -16)[8:] == _SUPER_JOURNAL:
        raise LedgerError(f"{path}-journal: names another file, so the ledger is not used")
    if not _size(path):
        return False
    if _part(path, 0) != b"SQLite format 3\0":  # SQLite takes a file of a few bytes for an empty database
        raise LedgerError(f"{path}: is not an SQLite database")
    return True


def _part(path: str, offset: int) -> bytes:
    """Sixteen bytes of a file, from its end if ``offset`` is negative; fewer if it is shorter."""
    try:
        with open(path, "rb") as file:
            file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
            return file.read(16)
    except FileNotFoundError:
        return b""
    except OSError as error:
        if offset < 0:  # shorter than that
            return b""
        raise LedgerError(f"{path}: cannot be read: {error.strerror or error}") from error


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


_PLAIN = frozenset("/-._~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
"""What a URI has unescaped (RFC 3986); importing urllib.parse for it would cost a hundredth of the start-up time."""


def _connect(path: str, mode: str) -> sqlite3.Connection:
    plain = "".join(chr(byte) if chr(byte) in _PLAIN else f"%{byte:02X}" for byte in os.fsencode(os.path.abspath(path)))
    connection = sqlite3.connect(
        f"file:{plain}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=WAIT_SECONDS,
    )
    # Damaged pages can claim a text of any length, and refer to each other in circles.
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST + (1 << 20))
    connection.set_progress_handler(_Patience(), 10_000)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        # With a write-ahead log the file stays whole at a power failure; at worst the last observations are missing.
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


class _Patience:
    """Ends a statement that would never end: reading a ledger of the largest size takes a few thousand calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> bool:
        self.calls += 1
        return self.calls > 100_000


def _checked(connection: sqlite3.Connection, path: str, writable: bool) -> Ledger | None:
    """Make the tables of a new file, refuse a file with other tables; None if it is still empty."""
    try:
        version, tables = _shape(connection)
        if writable and version == 0 and not tables:
            _create(connection)
            version, tables = _shape(connection)
    except sqlite3.OperationalError:  # locked, read-only, full: the caller may try another way
        connection.close()
        raise
    except sqlite3.DatabaseError as error:
        connection.close()
        raise LedgerError(f"{path}: {error}") from error
    if not writable and version == 0 and not tables:
        connection.close()
        return None
    if version != VERSION or tables != _SCHEMA:
        connection.close()
        newer = f"has version {version}, but this audit reads only version {VERSION}; upgrade checkpoint-audit"
        raise LedgerError(f"{path}: {newer if version > VERSION else 'is not a ledger of the audit'}")
    return Ledger(connection, path, writable)


def _shape(connection: sqlite3.Connection) -> tuple[int, dict[str, str]]:
    """Version and tables at one moment: another process may be making them."""
    connection.execute("BEGIN")
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL LIMIT 100"
        return version, dict(connection.execute(query).fetchall())
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _create(connection: sqlite3.Connection) -> None:
    # Readers and writers then do not wait for each other; on a network file system the journal stays.
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:  # another process is making the same ledger
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not connection.execute("PRAGMA user_version").fetchone()[0]:  # another process may have been faster
            for statement in _SCHEMA.values():
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def scans_digest(scans: Mapping[str, tuple[str, str]]) -> str:
    """Digest of one checkpoint's remembered scans, (stamp, text) by file; a scan is trusted if a row has its digest."""
    return _hash([[file, *scans[file]] for file in sorted(scans)])


def _digest(before: str, number: int, moment: str, kind: str, content: str) -> str:
    return _hash([before, number, moment, kind, content])


def _hash(value: Any) -> str:
    from blake3 import blake3

    return blake3(json.dumps(value).encode("ascii")).hexdigest()


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
