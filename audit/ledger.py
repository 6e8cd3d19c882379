"""The run's own history, ``<run>/.audit/ledger.db``: observations, seals, what the guard handed out.

An SQLite file that any tool can look into. Rows are only ever added; each carries the digest of the one before, so a
row that was changed or taken out is noticed. The file comes from the audited run, thus perhaps from an enemy: it must
have exactly our tables, links are not followed, and nothing in it is executed.
"""

import json
import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from audit.errors import AuditError

DIRECTORY = ".audit"
FILE = "ledger.db"
VERSION = 1
LONGEST = 4 << 20
"""Bytes of one row's content; a seal of ten thousand files is below."""
MOST = 200_000
"""Rows that are read: a verification every minute for four months."""

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


class Row(NamedTuple):
    """One entry. ``kind`` is observation, seal, guard, quarantine or batch; ``time`` is UTC in ISO 8601."""

    number: int
    time: str
    kind: str
    content: Mapping[str, Any]


class LedgerError(AuditError):
    """The ledger cannot be used: the message says why. Verification goes on without it."""


class LedgerEditedError(LedgerError):
    """A row is not what was written: somebody changed the history."""


class Ledger:
    """An open ledger. Use :func:`open_ledger`."""

    def __init__(self, connection: sqlite3.Connection, path: str, writable: bool) -> None:
        self._connection = connection
        self.path = path
        self.writable = writable

    def rows(self) -> tuple[Row, ...]:
        """Return all rows in order. Raises LedgerError where a row was changed, added by hand or taken out."""
        found = []
        before = ""
        with self._errors():
            query = "SELECT number, time, kind, content, digest FROM rows WHERE length(content) <= ? ORDER BY number LIMIT ?"
            for place, row in enumerate(self._connection.execute(query, (LONGEST, MOST)), 1):
                number, moment, kind, content, digest = row
                if (
                    not all(isinstance(text, str) for text in row[1:])
                    or number != place
                    or _digest(before, number, moment, kind, content) != digest
                ):
                    raise LedgerEditedError(f"{self.path}: row {place} is not what was written: the history was edited")
                before = digest
                document = json.loads(content)
                if not isinstance(document, dict):
                    raise LedgerError(f"{self.path}: row {place} holds no object")
                found.append(Row(number, moment, kind, document))
        return tuple(found)

    def append(self, kind: str, content: Mapping[str, Any]) -> None:
        """Add one row. Several processes may do so at once. Raises LedgerError (full disk, read-only)."""
        text = json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":"))
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + "Z"
        with self._errors(), self._transaction():
            last = self._connection.execute("SELECT number, digest FROM rows ORDER BY number DESC LIMIT 1").fetchone()
            number, before = (last[0] + 1, last[1]) if last else (1, "")
            self._connection.execute(
                "INSERT INTO rows VALUES (?, ?, ?, ?, ?)",
                (number, moment, kind, text, _digest(before, number, moment, kind, text)),
            )

    def scans(self) -> dict[tuple[str, str], tuple[str, str]]:
        """Return the remembered scans: (stamp, JSON text) by (checkpoint, file)."""
        with self._errors():
            query = "SELECT checkpoint, file, stamp, content FROM scans WHERE length(content) <= ? LIMIT ?"
            return {(row[0], row[1]): (row[2], row[3]) for row in self._connection.execute(query, (LONGEST, MOST))}

    def remember(self, checkpoint: str, scans: Mapping[str, tuple[str, str]]) -> None:
        """Replace the remembered scans of one checkpoint by (stamp, JSON text) by file. Raises LedgerError."""
        with self._errors(), self._transaction():
            self._connection.execute("DELETE FROM scans WHERE checkpoint = ?", (checkpoint,))
            self._connection.executemany(
                "INSERT INTO scans VALUES (?, ?, ?, ?)",
                [(checkpoint, file, stamp, text) for file, (stamp, text) in scans.items()],
            )

    def forget(self, present: set[str]) -> None:
        """Drop remembered scans of checkpoints that are gone; the rows stay."""
        with self._errors(), self._transaction():
            held = [row[0] for row in self._connection.execute("SELECT DISTINCT checkpoint FROM scans")]
            self._connection.executemany(
                "DELETE FROM scans WHERE checkpoint = ?", [(name,) for name in held if name not in present]
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
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError, RecursionError) as error:
            raise LedgerError(f"{self.path}: {error}") from error


def open_ledger(run: str, write: bool) -> Ledger | None:
    """Open a run's ledger; None where there is none and none may be made.

    With ``write`` it is made if need be; where that is not possible (read-only, full disk) an existing one is opened
    for reading. Raises LedgerError where it is damaged, of a newer version, or no ledger of ours.
    """
    home = os.path.join(run, DIRECTORY)
    path = os.path.join(home, FILE)
    exists = _check_place(home, path)
    if write:
        try:
            os.makedirs(home, exist_ok=True)
            return _checked(_connect(path, "rwc"), path, writable=True)
        except (OSError, sqlite3.Error) as error:
            if not exists:
                raise LedgerError(f"{path}: cannot be written: {error}") from error
    if not exists:
        return None
    try:
        return _checked(_connect(path, "ro"), path, writable=False)
    except sqlite3.OperationalError as error:
        if os.path.exists(f"{path}-wal"):
            raise LedgerError(f"{path}: cannot be read: {error}") from error
    try:
        # On a read-only mount SQLite cannot make its side files; with no write-ahead log there is nothing to join.
        return _checked(_connect(path, "ro&immutable=1"), path, writable=False)
    except sqlite3.Error as error:
        raise LedgerError(f"{path}: cannot be read: {error}") from error


def _check_place(home: str, path: str) -> bool:
    """Say whether the ledger is there; a link in its place is refused, it could lead anywhere."""
    for place, wanted in ((home, stat.S_ISDIR), (path, stat.S_ISREG)):
        try:
            info = os.lstat(place)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise LedgerError(f"{place}: {error.strerror or error}") from error
        if not wanted(info.st_mode):
            raise LedgerError(f"{place}: is not a {'directory' if place == home else 'file'}, so it is not used")
    return True


def _connect(path: str, mode: str) -> sqlite3.Connection:
    from urllib.parse import quote

    connection = sqlite3.connect(
        f"file:{quote(os.path.abspath(path))}?mode={mode}", uri=True, isolation_level=None, timeout=30
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    # With a write-ahead log the file stays whole at a power failure; at worst the last observations are missing.
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _checked(connection: sqlite3.Connection, path: str, writable: bool) -> Ledger:
    """Make the tables of a new file, refuse a file with other ones."""
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall())
        if writable and version == 0 and not tables:
            _create(connection)
            version, tables = VERSION, _SCHEMA
    except sqlite3.OperationalError:  # locked, read-only, full: the caller may try it otherwise
        connection.close()
        raise
    except sqlite3.DatabaseError as error:
        connection.close()
        raise LedgerError(f"{path}: {error}") from error
    if version != VERSION or tables != _SCHEMA:
        connection.close()
        newer = f"is of version {version}, newer than this audit's {VERSION}; upgrade checkpoint-audit"
        raise LedgerError(f"{path}: {newer if version > VERSION else 'is not a ledger of this audit'}")
    return Ledger(connection, path, writable)


def _create(connection: sqlite3.Connection) -> None:
    # Readers and writers then do not wait for each other; a network file system refuses, and stays with a journal.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    if not connection.execute("PRAGMA user_version").fetchone()[0]:  # another process may have been faster
        for statement in _SCHEMA.values():
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _digest(before: str, number: int, moment: str, kind: str, content: str) -> str:
    from blake3 import blake3

    text = json.dumps([before, number, moment, kind, content])
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest()
