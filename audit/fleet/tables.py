"""The tables as Parquet: rows in and out in order, so that nothing holds more than a few hundred of them.

Needs pyarrow, which is imported where it is used.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import groupby
from typing import Any, BinaryIO, NamedTuple

from audit.audit_dir import replaced
from audit.errors import AuditError
from audit.fleet.rows import Audited, FindingRow, InOrder, RunRow

AT_ONCE = 500
"""Rows of a table that are in memory; a group of them in a file."""

META = b"checkpoint-audit"
"""Key of what a table says of itself, in the metadata of its file."""

_TIMES = ("saved", "audited")
_LISTS = ("rules", "crashed", "notes")
_WHOLE = ("newest_step", "checkpoints", "resumable", "errors", "warnings", "infos", "accepted", "files", "bytes",
          "bytes_not_resumable", "bytes_superseded", "bytes_read", "number")  # fmt: skip
_TRUTHS = ("judged", "settled")


def require() -> None:
    """Raise AuditError, with what to install, if pyarrow is missing."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise AuditError(
            'audit fleet keeps its tables as Parquet; install it with: pip install "checkpoint-audit[fleet]"'
        ) from error


def _schema(names: Iterable[str], kinds: Mapping[str, Any]) -> Any:
    import pyarrow as pa

    return pa.schema([pa.field(name, kinds.get(name, pa.string())) for name in names])


def _runs() -> Any:
    import pyarrow as pa

    kinds = {
        **dict.fromkeys(_TIMES, pa.timestamp("us")),
        **dict.fromkeys(_LISTS, pa.list_(pa.string())),
        **dict.fromkeys(_WHOLE, pa.int64()),
        **dict.fromkeys(_TRUTHS, pa.bool_()),
        "seconds": pa.float64(),
    }
    return _schema(RunRow._fields, kinds)


def _findings() -> Any:
    import pyarrow as pa

    return _schema(FindingRow._fields, {"step": pa.int64(), "blocks_resume": pa.bool_()})


def _part() -> Any:
    import pyarrow as pa

    return _runs().append(pa.field("findings", pa.list_(pa.struct(list(_findings())))))


class _Writer:
    """A Parquet file that is written group by group, into one that is open: pyarrow takes a path for an address."""

    def __init__(self, file: BinaryIO, schema: Any, about: bytes) -> None:
        from pyarrow.parquet import ParquetWriter

        self._schema = schema.with_metadata({META: about})
        self._file = ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) >= AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._file.write_table(pa.Table.from_pylist(self._rows, self._schema))
            self._rows = []

    def close(self) -> None:
        self._flush()
        self._file.close()


def write_tables(runs: str, findings: str, found: Iterable[Audited], about: bytes) -> None:
    """Write both tables beside their old ones and put them in their place, the one of the runs last. Raises OSError."""
    with (
        replaced(runs) as new_runs,
        replaced(findings) as new_findings,
        open(new_runs, "wb") as runs_file,
        open(new_findings, "wb") as findings_file,
    ):
        first, second = _Writer(runs_file, _runs(), about), _Writer(findings_file, _findings(), about)
        try:
            for row, inside in found:
                first.add(row._asdict())
                for item in inside:
                    second.add(item._asdict())
        finally:
            first.close()
            second.close()


def write_part(path: str, rows: Iterable[Audited], about: bytes) -> None:
    """Write the rows of one batch, whole or not at all. Raises OSError."""
    with replaced(path) as scratch, open(scratch, "wb") as file:
        writer = _Writer(file, _part(), about)
        try:
            for row, findings in rows:
                writer.add({**row._asdict(), "findings": [item._asdict() for item in findings]})
        finally:
            writer.close()


def read_part(path: str, about: bytes) -> list[Audited] | None:
    """Return the rows of a part; None if there is none, or it is not whole, or of another pass."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with open(path, "rb") as opened, ParquetFile(opened) as file:
            if (file.schema_arrow.metadata or {}).get(META) != about:
                return None
            rows = _plain(file.read()).to_pylist()
    except (OSError, pa.ArrowException):
        return None
    return [Audited(_run(row), tuple(FindingRow(**item) for item in row["findings"])) for row in rows]


class Table(NamedTuple):
    """The two files of a finished pass."""

    runs: str
    findings: str

    @property
    def there(self) -> bool:
        """Whether a pass was finished."""
        return os.path.isfile(self.runs)

    def about(self) -> bytes:
        """Return what the table says of itself. Raises AuditError if it is none of ours."""
        import pyarrow as pa
        from pyarrow.parquet import read_schema

        try:
            with open(self.runs, "rb") as file:
                found = (read_schema(file).metadata or {}).get(META)
        except (OSError, pa.ArrowException) as error:
            raise AuditError(f"{self.runs}: cannot be read: {error}; move it away to begin anew") from error
        if found is None:
            raise AuditError(f"{self.runs}: was not written by audit fleet; name another table with -o")
        return bytes(found)

    def rows(self) -> Iterator[RunRow]:
        """Return the rows of the runs, in order. Raises AuditError if the file is damaged."""
        return map(_run, _read(self.runs))

    def findings_rows(self) -> Iterator[FindingRow]:
        """Return the rows of the findings, in the order of their runs. Raises AuditError if the file is damaged."""
        return (FindingRow(**row) for row in _read(self.findings))

    def audited(self) -> Iterator[Audited]:
        """Return each run with its findings, in order. Raises AuditError if a file is damaged."""
        if not self.there:
            return
        groups = InOrder(groupby(self.findings_rows(), key=lambda item: item.run), lambda group: group[0])
        for row in self.rows():
            found = groups.find(row.run)
            yield Audited(row, tuple(found[1]) if found is not None else ())


def _read(path: str) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with open(path, "rb") as opened, ParquetFile(opened) as file:
            for group in range(file.num_row_groups):
                yield from _plain(file.read_row_group(group)).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise AuditError(f"{path}: cannot be read: {error}; move it away to begin anew") from error


def _plain(table: Any) -> Any:
    """A table whose times are numbers: a time before the year 1 is no datetime."""
    import pyarrow as pa

    fields = [field.with_type(pa.int64()) if field.name in _TIMES else field for field in table.schema]
    return table.cast(pa.schema(fields))


def _run(row: Mapping[str, Any]) -> RunRow:
    lists = {name: tuple(row[name] or ()) for name in _LISTS}
    return RunRow(**{name: lists.get(name, row[name]) for name in RunRow._fields})


def moment(time: int | None) -> str | None:
    """Return a time of a table in words, UTC: ``2026-11-21T12:30:00Z``."""
    from datetime import UTC

    try:
        return None if time is None else datetime.fromtimestamp(time / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None
