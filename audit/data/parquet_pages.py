"""The sizes that a Parquet file claims, checked before pyarrow reserves memory for them.

pyarrow 26 reserves what the header of a page says that it unpacks to (up to 2 GiB), room for every value that a
dictionary claims to have, and for every element that a page of a list claims, before it finds out that they are not
there; it has no limit to set. It does the same for the lists in the footer, and ends the process if it is asked for the
place of a column whose statistics are damaged. So footer and headers are read here, too. The structures are those of
parquet.thrift. What pyarrow and this reader could take differently is refused.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from typing import IO, NamedTuple

from audit.data.containers import ALWAYS_ALLOWED, EXPANSION
from audit.data.thrift import I32, I64, STRUCT, InvalidThrift, Thrift
from audit.text import escaped

PAGE_ALLOWED = 64 << 20
"""Unpacked bytes that any page may have. Writers make pages of 1 MiB, or a little more than one batch of rows."""
PAGE_EXPANSION = 20
"""Beyond that, unpacked bytes of a page for one byte in the file."""
PAGE_MOST = 1 << 30
ELEMENTS_ALLOWED = 4 << 20
"""Elements that the lists of one column of a row group may have beyond EXPANSION for each byte in the file: nulls, and
elements that are all equal, take no bytes."""
PAGES_ALLOWED = 100_000
BYTES_OF_A_PAGE = 64
"""Beyond that, one page for so many bytes of the file: a page without values costs time as well."""

ROWS_ALLOWED = 100_000
"""Rows that any file may have; beyond that EXPANSION for each of its bytes: a null takes none."""
FOOTER_ALLOWED, FOOTER_SHARE, FOOTER_MOST = 1 << 20, 4, 64 << 20
"""Bytes of the footer that any file may have, beyond that one in so many bytes of the file, and at most. Of three bytes
pyarrow makes up to 700."""

_WINDOW = 64 << 10
_LONGEST_HEADER = 16 << 20
"""As in pyarrow (``kDefaultMaxPageHeaderSize``)."""


_KINDS = {0: 5, 2: 7, 3: 8}
"""The field with the header of each type of page: data, dictionary, data of version 2. Others are skipped."""


class _Refused(Exception):
    """Why the file is not read."""


class Column(NamedTuple):
    """The part of a column that is in one row group: its bytes in the file, and how many values they have.

    ``leaf``: its place among the leaves of the schema.
    """

    group: int
    leaf: int
    start: int
    end: int
    values: int


class _Header(NamedTuple):
    """The header of a page: its own bytes, those of the page, unpacked and in the file.

    ``values``: of a page of data, else 0; ``entries``: of a dictionary, else 0.
    """

    size: int
    unpacked: int
    packed: int
    values: int
    entries: int


class Leaf(NamedTuple):
    """A leaf of the schema as pyarrow has it: its path, and whether its values are in lists."""

    path: str
    in_lists: bool


def columns_of(file: IO[bytes]) -> list[Column] | str:
    """Return the parts of all columns as the footer has them, or why pyarrow must not read it.

    There are none if pyarrow says itself that there is no footer. Raises OSError.
    """
    size = file.seek(0, os.SEEK_END)
    length = _footer_length(file, size)
    if length is None:
        return []
    most = min(FOOTER_ALLOWED + size // FOOTER_SHARE, FOOTER_MOST)
    if length > most:
        return f"has a footer of {length} bytes; {most} are enough for what it has: write it with larger row groups"
    file.seek(size - 8 - length)
    try:
        return list(_columns(Thrift(file.read(length)), size))
    except _Refused as refused:
        return str(refused)
    except (InvalidThrift, IndexError):
        return "has a footer that cannot be read"


def refusal(file: IO[bytes], columns: Sequence[Column], names: Collection[str], leaves: Sequence[Leaf]) -> str | int:
    """Return why a file is not read; if every page of the columns ``names`` claims little, the size of the largest.

    ``columns`` are those of :func:`columns_of`. Raises OSError.
    """
    limits = _Limits(file.seek(0, os.SEEK_END))
    try:
        for column in columns:
            leaf = leaves[column.leaf] if column.leaf < len(leaves) else None
            if leaf is None or any(f"{leaf.path}.".startswith(f"{name}.") for name in names):
                called = f"column {escaped(leaf.path[:40]) if leaf else column.leaf} of row group {column.group}"
                limits.check(called, _pages(file, column, called), leaf is not None and leaf.in_lists)
    except _Refused as refused:
        return str(refused)
    return limits.largest


class _Limits:
    """What the pages of one file may still claim."""

    def __init__(self, size: int) -> None:
        self._pages = PAGES_ALLOWED + size // BYTES_OF_A_PAGE
        self._bytes = max(ALWAYS_ALLOWED, EXPANSION * size)
        self.largest = 0
        """Bytes that the largest page unpacks to, and so more than any value has."""

    def check(self, column: str, pages: Iterator[_Header], in_lists: bool) -> None:
        """Raise _Refused if a column claims too much."""
        elements = ELEMENTS_ALLOWED
        for page in pages:
            reason = _too_much(page)
            if reason is not None:
                raise _Refused(f"has a page in {column} that claims {reason}")
            self.largest = max(self.largest, page.unpacked)
            self._pages -= 1
            self._bytes -= page.unpacked
            if self._pages < 0:
                raise _Refused(f"has more than {PAGES_ALLOWED} pages, and one for less than {BYTES_OF_A_PAGE} bytes")
            if self._bytes < 0:
                raise _Refused(
                    f"unpacks to more than {EXPANSION} times its size; write it without compression if that is right"
                )
            elements -= max(0, page.values - EXPANSION * page.packed) if in_lists else 0
            if elements < 0:
                raise _Refused(
                    f"claims more elements of lists in {column} than its bytes hold; write it with smaller row groups"
                )


def _too_much(page: _Header) -> str | None:
    if page.unpacked < 0 or page.packed < 0 or page.values < 0 or page.entries < 0:
        return "less than nothing"
    if page.unpacked > min(max(PAGE_ALLOWED, PAGE_EXPANSION * page.packed), PAGE_MOST):
        return f"to unpack from {page.packed} bytes to {page.unpacked}; write it with smaller pages if that is right"
    if page.entries > page.unpacked:
        return f"a dictionary of {page.entries} values in {page.unpacked} bytes"
    return None


def _footer_length(file: IO[bytes], size: int) -> int | None:
    """How long the footer is; None if pyarrow refuses the file before it reads one."""
    file.seek(max(0, size - 8))
    end = file.read(8)
    length = int.from_bytes(end[:4], "little")
    return length if end[4:] == b"PAR1" and 0 < length <= size - 8 else None


def _columns(footer: Thrift, size: int) -> Iterator[Column]:
    """Yield the parts of all columns. Raises _Refused, InvalidThrift and IndexError."""
    rows = ROWS_ALLOWED + EXPANSION * size
    for number, kind in footer.fields():
        if number == 3:  # num_rows of FileMetaData
            if footer.integer(kind, I64) > rows:
                raise _Refused(f"claims more than {rows} rows, {EXPANSION} for each of its bytes")
        elif number == 4:  # row_groups
            for group in footer.items(kind, STRUCT):
                for part, inner in footer.fields():
                    if part != 1:  # columns of RowGroup
                        footer.skip(inner)
                        continue
                    for leaf in footer.items(inner, STRUCT):
                        yield _column(footer, group, leaf, size)
        else:
            footer.skip(kind)


def _column(footer: Thrift, group: int, leaf: int, size: int) -> Column:
    found: dict[int, int] = {}
    for number, kind in footer.fields():
        if number != 3:  # meta_data of ColumnChunk
            footer.skip(kind)
            continue
        for field, inner in footer.struct(kind):
            if field in (5, 7, 9, 11):  # num_values, total_compressed_size, data_page_offset, dictionary_page_offset
                found[field] = footer.integer(inner, I64)
            else:
                footer.skip(inner)
    try:
        values, length, start = found[5], found[7], found[9]
    except KeyError:
        raise _Refused(f"has a footer that does not say where column {leaf} of row group {group} is") from None
    dictionary = found.get(11, 0)
    if 0 < dictionary < start:
        start = dictionary
    if start < 0 or length < 0 or values < 0:
        raise _Refused(f"has a footer that says that column {leaf} of row group {group} is outside of the file")
    return Column(group, leaf, start, min(start + length, size), values)


def _pages(file: IO[bytes], column: Column, called: str) -> Iterator[_Header]:
    """Yield the header of each page of a column that pyarrow comes to: until it has the values that the footer says.

    Raises _Refused, also where they are not as many.
    """
    left, start = column.values, column.start
    window, at = b"", start  # the bytes of the file from ``at``
    while left > 0 and start < column.end:
        header = _header(window, start - at, called) if at <= start < at + len(window) else None
        length = _WINDOW
        while header is None:
            file.seek(start)
            window, at = file.read(length), start
            header = _header(window, 0, called)
            if header is None and (len(window) < length or length >= _LONGEST_HEADER):
                raise _Refused(f"has a page in {called} whose header has no end")
            length *= 16
        yield header
        left -= header.values
        start += header.size + header.packed
    if left:
        raise _Refused(
            f"has other pages in {called} than its footer says: their values differ in number by {abs(left)}"
        )


def _header(data: bytes, begin: int, called: str) -> _Header | None:
    """Read the header of a page; None if it does not end within ``data``. Raises _Refused."""
    found: dict[int, int] = {}
    counts: dict[int, int] = {}
    source = Thrift(data, begin)
    try:
        for number, kind in source.fields():
            if number in (1, 2, 3):  # type, uncompressed_page_size, compressed_page_size of PageHeader
                found[number] = source.integer(kind, I32)
            elif number in _KINDS.values():
                for field, inner in source.struct(kind):
                    if field == 1:  # num_values of each of them
                        counts[number] = source.integer(inner, I32)
                    else:
                        source.skip(inner)
            else:
                source.skip(kind)
    except IndexError:
        return None
    except InvalidThrift:
        found.clear()
    kind = found.get(1, -1)
    own = _KINDS.get(kind)
    if len(found) < 3 or (own is not None and own not in counts):
        raise _Refused(f"has a page in {called} whose header cannot be read")
    count = counts[own] if own is not None else 0
    return _Header(source.at - begin, found[2], found[3], 0 if kind == 2 else count, count if kind == 2 else 0)
