"""The rows of a data file: JSON Lines, a JSON list or Parquet, one example a row (docs/data.md).

A file is read as a stream, one line, element or record batch at a time, so its size does not matter.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import IO, Any, NamedTuple

from audit.backend.training import BadData
from audit.data.canonical import canonical
from audit.data.containers import GZIP, PARQUET, ZSTD, Opened, opened
from audit.data.json_list import ListFault, elements
from audit.data.parquet_pages import Leaf, columns_of, refusal
from audit.data.row_formats import AUTO, format_of, kind_of, no_format, wrong
from audit.errors import AuditError
from audit.text import escaped

LINE_LIMIT = 16 << 20
"""Bytes of one line. The longest novels have 4 MB; JSON of this size takes at worst some hundred MB of memory."""

COLUMNS = (
    "text", "messages", "tools", "prompt", "completion", "input_ids", "labels",
    "instruction", "input", "output", "history", "system", "conversations",
    "chosen", "rejected",
)  # fmt: skip
BATCH_BYTES = 64 << 20
"""As many rows are read at a time as have so many bytes if each has a value as large as the largest page."""
BATCH_ROWS = 16
"""More are hardly faster, and a text that all rows share is in the file once, but in a batch for each of its rows."""
NO_ROWS = "has no rows; one example per row is needed"


class Rows(NamedTuple):
    """How many rows a data file has, in which format, and the BLAKE3 digest of what is trained of them.

    The digest is the same however the file writes its rows: as JSON Lines, a list or Parquet, in whatever order of the
    keys, with or without a last newline and keys that are ignored.
    """

    count: int  # type: ignore[assignment]  # tuple.count is not needed
    format: str
    digest: str


class Judged(NamedTuple):
    """One row as it is read: its number, its content, its format; or the fault because of which it is refused."""

    number: int
    row: Mapping[str, Any]
    format: str | None
    fault: BadData | None = None


def inspect(path: str, format: str = AUTO) -> Rows:
    """Read the whole file once and check every row. Raises BadData for the first bad one."""
    from blake3 import blake3
    from msgspec.json import encode

    count, found, hasher = 0, format, blake3()
    for count, (_, row, found) in enumerate(checked_rows(path, format), 1):  # noqa: B007  the last ones are the result
        hasher.update(encode(row, order="sorted", enc_hook=repr))
        hasher.update(b"\n")
    return Rows(count, found, hasher.hexdigest())


def count_rows(path: str) -> int:
    """Return how many rows a file has, whatever is in them. Raises BadData if it cannot be read or has none.

    Of a Parquet file one column is read.
    """
    count = 0
    for _, row in _rows(path, None, counted=True):
        if isinstance(row, BadData):
            raise row
        count += 1
    if not count:
        raise BadData(path, None, NO_ROWS)
    return count


def checked_rows(
    path: str, format: str = AUTO, rows: Iterable[tuple[int, Mapping[str, Any]]] | None = None
) -> Iterator[tuple[int, Mapping[str, Any], str]]:
    """Yield the number, the row and the format of each row; "auto" is the format of the first one.

    Rows are yielded in one shape (:func:`audit.data.canonical.canonical`). ``rows``: take these, as
    :func:`read_rows` yields them, for those of the file. Raises BadData for the first row that is not in that format,
    and for a file without rows.
    """
    for number, row, found, fault in judged_rows(path, format, rows):
        if fault is not None:
            raise fault
        assert found is not None
        yield number, row, found


def judged_rows(
    path: str, format: str = AUTO, rows: Iterable[tuple[int, Mapping[str, Any] | BadData]] | None = None
) -> Iterator[Judged]:
    """Yield each row, also those that are refused, with the reason; ``rows`` as in :func:`checked_rows`.

    Raises BadData if the file cannot be read any further, or has no rows.
    """
    wanted = None if format == AUTO else format
    empty = True
    for number, row in _rows(path, COLUMNS) if rows is None else rows:
        empty = False
        if isinstance(row, BadData):
            yield Judged(number, {}, None, row)
            continue
        if format == AUTO:
            found = format_of(row)
            if found is None or (wanted is not None and found != wanted):
                yield Judged(number, row, None, BadData(path, number, no_format(row, found, wanted)))
                continue
            wanted = found
        assert wanted is not None
        reason = wrong(row, wanted)
        if reason is not None:
            yield Judged(number, row, wanted, BadData(path, number, reason))
        else:
            yield Judged(number, canonical(row, wanted), wanted)
    if empty:
        raise BadData(path, None, NO_ROWS)


def read_rows(path: str, columns: Collection[str] | None = COLUMNS) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield each row with its number, without its null values.

    In JSON Lines the number is that of the line, in a JSON list that of the element, from 1. Of a Parquet file only
    ``columns`` are read, None for all. A file is Parquet if it begins like one or its name ends in ``.parquet``.

    Raises BadData, and AuditError if pyarrow is needed and not installed.
    """
    for number, row in _rows(path, columns):
        if isinstance(row, BadData):
            raise row
        yield number, row


def container_of(path: str) -> str:
    """Return what the file is, for people: "JSON Lines, gzip". Raises BadData as reading it does."""
    with opened(path) as data:
        if _is_parquet(path, data):
            return "Parquet"
        first = next((line.lstrip(b" \t\r\n") for _, line in _lines(path, data.file)), b"")
        name = "JSON list" if first.startswith(b"[") else "JSON Lines"
        return f"{name}, {data.compression}" if data.compression else name


def _rows(
    path: str, columns: Collection[str] | None, counted: bool = False
) -> Iterator[tuple[int, Mapping[str, Any] | BadData]]:
    """Yield each row, or why it is none. Raises BadData if the file cannot be read any further.

    ``counted``: nobody looks at what is in the rows.
    """
    with opened(path) as data:
        reason = _no_data(data.beginning)
        if reason is not None:
            raise BadData(path, None, reason)
        if not _is_parquet(path, data):
            yield from _json_rows(path, data.file)
            return
        if data.compression:
            raise BadData(path, None, f"is Parquet inside {data.compression}; unpack it first")
        for number, row in _parquet(path, data.file, columns, counted):
            yield number, _without_null(row)


def _is_parquet(path: str, data: Opened) -> bool:
    return data.beginning.startswith(PARQUET) or (data.compression is None and path.lower().endswith(".parquet"))


def _without_null(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in row.items() if value is not None}


def _no_data(beginning: bytes) -> str | None:
    """Return what is wrong with a file that is not data: what is often found in its place."""
    if beginning.startswith(b"version https://git-lfs"):
        return "is a git-lfs placeholder: the data was not fetched (git lfs pull)"
    if beginning.startswith((GZIP, ZSTD, b"BZh", b"\xfd7zXZ", b"PK\x03\x04")):
        return "is compressed in a way that is not read (gzip and zstd are, once); unpack it first"
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "is UTF-16 text; JSON Lines are UTF-8"
    if beginning and not beginning.strip(b"\0"):
        return "begins with zeros, as a file does if the machine crashed while it was written"
    return None


def _json_rows(path: str, file: IO[bytes]) -> Iterator[tuple[int, Mapping[str, Any] | BadData]]:
    """Yield the rows of JSON Lines, or of one list: no line of JSON Lines begins with a bracket."""
    first = True
    for number, line in _lines(path, file):
        if first and line.startswith(b"["):
            try:
                for element, text in elements(file, line, LINE_LIMIT):
                    yield element, _parsed(path, element, text, "element")
            except ListFault as fault:
                raise BadData(path, fault.element, fault.reason) from fault
            return
        if len(line) > LINE_LIMIT:
            raise BadData(path, number, f"the line is longer than {LINE_LIMIT >> 20} MiB; split the example")
        first = False
        yield number, _parsed(path, number, line.rstrip(b" \t\r\n"), "line")


def _lines(path: str, file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, from their first character on; a longer one is not read to its end."""
    number = blank = 0
    while line := _read(path, number + 1, file):
        number += 1
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        begun = line.lstrip(b" \t\r\n")
        if len(line) > LINE_LIMIT:  # blanks count: the line goes on
            begun = begun if begun.startswith(b"[") else line
        if begun:
            blank = 0
            yield number, begun
        else:
            blank += len(line)
            if blank > LINE_LIMIT:
                raise BadData(path, number, f"is one of more than {LINE_LIMIT >> 20} MiB of blank lines")


def _read(path: str, number: int, file: IO[bytes]) -> bytes:
    try:
        return file.readline(LINE_LIMIT + 2)
    except OSError as error:
        raise BadData(path, number, f"cannot be read: {error.strerror or error}") from error


def _parsed(path: str, number: int, line: bytes, unit: str) -> Mapping[str, Any] | BadData:
    from msgspec import DecodeError
    from msgspec.json import decode

    try:
        row = decode(line)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        return BadData(path, number, _no_json(line, error, unit))
    if not isinstance(row, dict):
        return BadData(path, number, f"is {kind_of(row)}; each {unit} must be one JSON object, one example")
    return _without_null(row)


def _no_json(line: bytes, error: Exception, unit: str) -> str:
    """Return why a line was refused; the parser that refused it does not say."""
    import json

    if line.startswith(b"\0"):
        return "begins with zeros, as a file does if the machine crashed while it was written"
    if line == b"{":
        return (
            "is not JSON by itself: each line must be one whole object (JSON Lines, not a list or an indented document)"
        )
    constants: list[str] = []
    try:
        json.loads(line.decode(), parse_constant=constants.append)
    except UnicodeDecodeError as fault:
        return f"is not UTF-8 text: byte {fault.start + 1} of the {unit} is not"
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


def _python_rows(path: str, number: int, batch: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a batch that begins after row ``number``. Raises BadData for a row that is too long."""
    if batch.nbytes > LINE_LIMIT:
        for place in range(batch.num_rows):
            row = batch.slice(place, 1)
            if row.nbytes > LINE_LIMIT:
                raise BadData(path, number + place + 1, f"is longer than {LINE_LIMIT >> 20} MiB")
            yield from row.to_pylist()
    else:
        yield from batch.to_pylist()


def _parquet(
    path: str, file: IO[bytes], columns: Collection[str] | None, counted: bool
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise AuditError(
            f"{path}: reading Parquet needs pyarrow, which is not installed: pip install 'checkpoint-audit[hf]'"
        ) from error
    number = 0
    try:
        parts = columns_of(file)
        if isinstance(parts, str):
            raise BadData(path, None, parts)
        # Without read-ahead: a row group may be the whole file.
        table = parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True)
        names = [name for name in table.schema_arrow.names if columns is None or name in columns]
        if not names and columns is not None:
            found = ", ".join(escaped(name[:40]) for name in table.schema_arrow.names[:8]) or "none"
            raise BadData(path, None, f"has none of the columns {', '.join(columns)}; it has {found}")
        schema = [table.metadata.schema.column(leaf) for leaf in range(table.metadata.num_columns)]
        leaves = [Leaf(leaf.path, leaf.max_repetition_level > 0) for leaf in schema]
        if counted and leaves:
            plain = next((leaf.path for leaf in leaves if leaf.path in names and not leaf.in_lists), None)
            names = [plain] if plain is not None else names[:1]
        largest = refusal(file, parts, names, leaves)
        if isinstance(largest, str):
            raise BadData(path, None, largest)
        rows = max(1, min(BATCH_ROWS, BATCH_BYTES // max(largest, 1)))
        for batch in table.iter_batches(rows, columns=names, use_threads=False):
            batch.validate(full=True)
            for row in _python_rows(path, number, batch):
                number += 1
                yield number, row
        if number != table.metadata.num_rows:
            raise BadData(path, None, f"has {number} rows, but its footer says {table.metadata.num_rows}")
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError, LookupError) as error:
        reason = escaped(" ".join(str(error).split())[:200]) or type(error).__name__
        raise BadData(path, None, f"is not a valid Parquet file, after row {number}: {reason}") from error
