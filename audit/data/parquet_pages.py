"""The sizes that the pages of a Parquet file claim, checked before pyarrow reserves memory for them.

pyarrow 26 reserves what the header of a page says that it unpacks to (up to 2 GiB), room for every value that a
dictionary claims to have, and for every element that a page of a list claims, before it finds out that they are not
there; it has no limit to set. The footer is read here, too: to ask pyarrow for the place of a column ends the process
if its statistics are damaged. The structures are those of parquet.thrift.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from typing import IO, NamedTuple

from audit.data.containers import ALWAYS_ALLOWED, EXPANSION
from audit.data.thrift import STRING, STRUCT, InvalidThrift, Thrift
from audit.text import escaped

PAGE_ALLOWED = 64 << 20
"""Unpacked bytes that any page may have. Writers make pages of 1 MiB, or a little more than one batch of rows."""
PAGE_EXPANSION = 20
"""Beyond that, unpacked bytes of a page for one byte in the file."""
PAGE_MOST = 1 << 30
ELEMENTS_ALLOWED = 64 << 20
"""Elements that the lists of one column of a row group may have beyond EXPANSION for each byte in the file: nulls, and
elements that are all equal, take no bytes."""
PAGES_ALLOWED = 100_000
BYTES_OF_A_PAGE = 64
"""Beyond that, one page for so many bytes of the file: a page without values costs time as well."""

_WINDOW = 64 << 10
_LONGEST_HEADER = 16 << 20
"""As in pyarrow (``kDefaultMaxPageHeaderSize``)."""


class _Refused(Exception):
    """Why the file is not read."""


class _Column(NamedTuple):
    """The part of a column that is in one row group: its bytes in the file, and how many values they have.

    ``leaf``: its place among the leaves of the schema; ``name``: of the column of the table that it belongs to.
    """

    group: int
    leaf: int
    name: bytes
    start: int
    end: int
    values: int

    def __str__(self) -> str:
        return f"column {escaped(str(self.name[:40], 'utf-8', 'replace'))} of row group {self.group}"


class _Header(NamedTuple):
    """The header of a page: its own bytes, those of the page, unpacked and in the file.

    ``values``: of a page of data, else 0; ``entries``: of a dictionary, else 0.
    """

    size: int
    unpacked: int
    packed: int
    values: int
    entries: int


def refusal(file: IO[bytes], names: Collection[str] | None, in_lists: Sequence[bool]) -> str | None:
    """Return why a Parquet file is not read, None if every page of the columns ``names`` (None: all) claims little.

    ``in_lists``: of each leaf of the schema, whether its values are in lists. Raises OSError.
    """
    size = file.seek(0, os.SEEK_END)
    wanted = None if names is None else {name.encode() for name in names}
    limits = _Limits(size)
    try:
        for column in _columns(file, size):
            if wanted is None or column.name in wanted:
                limits.check(column, _pages(file, column), column.leaf < len(in_lists) and in_lists[column.leaf])
    except _Refused as refused:
        return str(refused)
    except (InvalidThrift, IndexError):
        return "has a footer that cannot be read"
    return None


class _Limits:
    """What the pages of one file may still claim."""

    def __init__(self, size: int) -> None:
        self._pages = PAGES_ALLOWED + size // BYTES_OF_A_PAGE
        self._bytes = max(ALWAYS_ALLOWED, EXPANSION * size)

    def check(self, column: _Column, pages: Iterator[_Header], in_lists: bool) -> None:
        """Raise _Refused if a column claims too much."""
        elements = ELEMENTS_ALLOWED
        for page in pages:
            reason = _too_much(page)
            if reason is not None:
                raise _Refused(f"has a page in {column} that claims {reason}")
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


def _columns(file: IO[bytes], size: int) -> Iterator[_Column]:
    """Yield the parts of all columns as the footer has them. Raises _Refused, InvalidThrift and IndexError."""
    file.seek(max(0, size - 8))
    length = int.from_bytes(file.read(8)[:4], "little")
    file.seek(max(0, size - 8 - length))
    footer = Thrift(file.read(length))
    for number, kind in footer.fields():
        if number != 4:  # row_groups of FileMetaData
            footer.skip(kind)
            continue
        for group in footer.items(kind, STRUCT):
            for part, inner in footer.fields():
                if part != 1:  # columns of RowGroup
                    footer.skip(inner)
                    continue
                for leaf in footer.items(inner, STRUCT):
                    yield _column(footer, group, leaf, size)


def _column(footer: Thrift, group: int, leaf: int, size: int) -> _Column:
    found: dict[int, int] = {}
    name = b""
    for number, kind in footer.fields():
        if number != 3:  # meta_data of ColumnChunk
            footer.skip(kind)
            continue
        for field, inner in footer.struct(kind):
            if field == 3:  # path_in_schema of ColumnMetaData
                for place in footer.items(inner, STRING):
                    part = footer.string(STRING)
                    name = name if place else part
            elif field in (5, 7, 9, 11):  # num_values, total_compressed_size, data_page_offset, dictionary_page_offset
                found[field] = footer.integer(inner)
            else:
                footer.skip(inner)
    try:
        values, length, start = found[5], found[7], found[9]
    except KeyError:
        raise _Refused(f"has a footer that does not say where column {leaf} of row group {group} is") from None
    dictionary = found.get(11, 0)
    if 0 < dictionary < start:
        start = dictionary
    if start < 0 or length < 0:
        raise _Refused(f"has a footer that says that column {leaf} of row group {group} is outside of the file")
    return _Column(group, leaf, name, start, min(start + length, size), values)


def _pages(file: IO[bytes], column: _Column) -> Iterator[_Header]:
    """Yield the header of each page of a column that pyarrow comes to: until it has the values that the footer says.

    Raises _Refused.
    """
    left, start = column.values, column.start
    window, at = b"", start  # the bytes of the file from ``at``
    while left > 0 and start < column.end:
        header = _header(window, start - at, column) if at <= start < at + len(window) else None
        length = _WINDOW
        while header is None:
            file.seek(start)
            window, at = file.read(length), start
            header = _header(window, 0, column)
            if header is None and (len(window) < length or length >= _LONGEST_HEADER):
                raise _Refused(f"has a page in {column} whose header has no end")
            length *= 16
        yield header
        left -= header.values
        start += header.size + header.packed


def _header(data: bytes, begin: int, column: _Column) -> _Header | None:
    """Read the header of a page; None if it does not end within ``data``. Raises _Refused."""
    found: dict[int, int] = {}
    source = Thrift(data, begin)
    try:
        for number, kind in source.fields():
            if number in (2, 3):  # uncompressed_page_size, compressed_page_size of PageHeader
                found[number] = source.integer(kind)
            elif number in (5, 7, 8):  # the headers of a page of data, of a dictionary, of a page of data of version 2
                for field, inner in source.struct(kind):
                    if field == 1:  # num_values of each of them
                        found[number] = source.integer(inner)
                    else:
                        source.skip(inner)
            else:
                source.skip(kind)
    except IndexError:
        return None
    except InvalidThrift:
        found.clear()
    if 2 not in found or 3 not in found:
        raise _Refused(f"has a page in {column} whose header cannot be read")
    values = max(found.get(5, 0), found.get(8, 0)) if min(found.get(5, 0), found.get(8, 0)) >= 0 else -1
    return _Header(source.at - begin, found[2], found[3], values, found.get(7, 0))
