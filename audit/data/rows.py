"""The rows of a data file: JSON Lines or Parquet, one example a row, in one of four formats (docs/data.md).

A file is read as a stream, one line or one record batch at a time, so its size does not matter.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from typing import IO, Any, NamedTuple

from audit.backend.training import BadData
from audit.data.row_formats import AUTO, format_of, kind_of, no_format, wrong
from audit.errors import AuditError
from audit.text import escaped

LINE_LIMIT = 16 << 20
"""Bytes of one line. The longest novels have 4 MB; JSON of this size takes at worst some hundred MB of memory."""

COLUMNS = ("text", "messages", "tools", "prompt", "completion", "input_ids", "labels")
BATCH_BYTES = 8 << 20
BATCH_ROWS = 16
"""More are hardly faster, and a text that all rows share is in the file once, but in a batch for each of its rows."""


class Rows(NamedTuple):
    """How many rows a data file has, in which format, and the BLAKE3 digest of what is trained of them.

    The digest is the same however the file writes its rows: as JSON Lines or Parquet, in whatever order of the keys,
    with or without a last newline and keys that are ignored.
    """

    count: int  # type: ignore[assignment]  # tuple.count is not needed
    format: str
    digest: str


def inspect(path: str, format: str = AUTO) -> Rows:
    """Read the whole file once and check every row. Raises BadData for the first bad one."""
    from blake3 import blake3
    from msgspec.json import encode

    count, found, hasher = 0, format, blake3()
    for count, (_, row, found) in enumerate(checked_rows(path, format), 1):  # noqa: B007  the last ones are the result
        hasher.update(encode({key: row[key] for key in COLUMNS if key in row}, order="sorted", enc_hook=repr))
        hasher.update(b"\n")
    return Rows(count, found, hasher.hexdigest())


def count_rows(path: str) -> int:
    """Return how many rows a file has, whatever is in them. Raises BadData if it cannot be read or has none."""
    count = sum(1 for _ in read_rows(path, columns=None))
    if not count:
        raise BadData(path, None, "has no rows; one example per row is needed")
    return count


def checked_rows(path: str, format: str = AUTO) -> Iterator[tuple[int, Mapping[str, Any], str]]:
    """Yield the number, the row and the format of each row; "auto" is the format of the first one.

    Raises BadData for the first row that is not in that format, and for a file without rows.
    """
    wanted = None if format == AUTO else format
    empty = True
    for number, row in read_rows(path):
        if format == AUTO:
            found = format_of(row)
            if found is None or (wanted is not None and found != wanted):
                raise BadData(path, number, no_format(row, found, wanted))
            wanted = found
        assert wanted is not None
        reason = wrong(row, wanted)
        if reason is not None:
            raise BadData(path, number, reason)
        yield number, row, wanted
        empty = False
    if empty:
        raise BadData(path, None, "has no rows; one example per row is needed")


def read_rows(path: str, columns: Collection[str] | None = COLUMNS) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield each row with its number, without its null values; in JSON Lines the number is that of the line, from 1.

    Of a Parquet file only ``columns`` are read, None for all. The file is Parquet if it begins like one or its name
    ends in ``.parquet``. Raises BadData, and AuditError if pyarrow is needed and not installed.
    """
    with _opened(path) as file:
        beginning = file.read(64)
        file.seek(0)
        reason = _no_data(beginning)
        if reason is not None:
            raise BadData(path, None, reason)
        parquet = beginning.startswith(b"PAR1") or path.lower().endswith(".parquet")
        for number, row in _parquet(path, file, columns) if parquet else _lines(path, file):
            yield number, {key: value for key, value in row.items() if value is not None}


@contextlib.contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    """Open a regular file. A link is refused: its target may change, and moving it away would move only the link."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP or os.path.islink(path):
            raise BadData(path, None, "is a symbolic link; put the file itself here, or a hard link to it") from error
        raise BadData(path, None, f"cannot be read: {error.strerror or error}") from error
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        kind = "a directory" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise BadData(path, None, f"is {kind}; a data file is a JSON Lines or Parquet file")
    with open(number, "rb") as file:
        yield file


def _no_data(beginning: bytes) -> str | None:
    """Return what is wrong with a file that is not data: what is often found in its place."""
    if beginning.startswith(b"version https://git-lfs"):
        return "is a git-lfs placeholder: the data was not fetched (git lfs pull)"
    if beginning.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ", b"PK\x03\x04")):
        return "is compressed; unpack it first"
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "is UTF-16 text; JSON Lines are UTF-8"
    if beginning and not beginning.strip(b"\0"):
        return "begins with zeros, as a file does if the machine crashed while it was written"
    return None


def _lines(path: str, file: IO[bytes]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    number = 0
    while line := _read(path, number + 1, file):
        number += 1
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if len(line) > LINE_LIMIT:
            raise BadData(path, number, f"the line is longer than {LINE_LIMIT >> 20} MiB; split the example")
        line = line.strip(b" \t\r\n")
        if line:
            yield number, _parsed(path, number, line)


def _read(path: str, number: int, file: IO[bytes]) -> bytes:
    try:
        return file.readline(LINE_LIMIT + 2)
    except OSError as error:
        raise BadData(path, number, f"cannot be read: {error.strerror or error}") from error


def _parsed(path: str, number: int, line: bytes) -> Mapping[str, Any]:
    from msgspec import DecodeError
    from msgspec.json import decode

    try:
        row = decode(line)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadData(path, number, _no_json(line, error)) from error
    if not isinstance(row, dict):
        raise BadData(path, number, f"is {kind_of(row)}; each line must be one JSON object, one example")
    return row


def _no_json(line: bytes, error: Exception) -> str:
    """Return why a line was refused; the parser that refused it does not say."""
    import json

    if line.startswith(b"\0"):
        return "begins with zeros, as a file does if the machine crashed while it was written"
    if line in (b"[", b"{"):
        return (
            "is not JSON by itself: each line must be one whole object (JSON Lines, not a list or an indented document)"
        )
    constants: list[str] = []
    try:
        json.loads(line.decode(), parse_constant=constants.append)
    except UnicodeDecodeError as fault:
        return f"is not UTF-8 text: byte {fault.start + 1} of the line is not"
    except json.JSONDecodeError as fault:
        if fault.pos >= len(fault.doc) or fault.msg.startswith("Unterminated string"):
            return f"is truncated: its JSON ends within a value, at column {len(fault.doc)}"
        return f"is not JSON: {fault.msg} at column {fault.colno}"
    except (RecursionError, ValueError):
        pass
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if constants:
        return f"is not JSON: {constants[0]} is not a JSON value"
    if "out of range" in str(error):
        return "has a number that is too large"
    return "has a string with half of a surrogate pair (\\ud800 to \\udfff), which is not text"


def _parquet(path: str, file: IO[bytes], columns: Collection[str] | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise AuditError(
            f"{path}: reading Parquet needs pyarrow, which is not installed: pip install 'checkpoint-audit[hf]'"
        ) from error
    number = 0
    try:
        # Without read-ahead: a row group may be the whole file.
        table = parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True)
        names = [name for name in table.schema_arrow.names if columns is None or name in columns]
        if not names and columns is not None:
            found = ", ".join(escaped(name[:40]) for name in table.schema_arrow.names[:8]) or "none"
            raise BadData(path, None, f"has none of the columns {', '.join(columns)}; it has {found}")
        width = sum(table.metadata.row_group(index).total_byte_size for index in range(table.num_row_groups))
        rows = max(1, min(BATCH_ROWS, BATCH_BYTES * max(table.metadata.num_rows, 1) // max(width, 1)))
        for batch in table.iter_batches(rows, columns=names, use_threads=False):
            batch.validate(full=True)
            for row in batch.to_pylist():
                number += 1
                yield number, row
        if number != table.metadata.num_rows:
            raise BadData(path, None, f"has {number} rows, but its footer says {table.metadata.num_rows}")
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError, LookupError) as error:
        reason = escaped(" ".join(str(error).split())[:200]) or type(error).__name__
        raise BadData(path, None, f"is not a valid Parquet file, after row {number}: {reason}") from error
