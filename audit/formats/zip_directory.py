"""The directory of a zip archive as torch writes it: stored records, none compressed, none hidden.

``zipfile`` is not used: it is slow to import, accepts archives with bytes before and after them, with two records of
one name and with nested records, and reads each of them differently from torch.
"""

from struct import Struct
from typing import NamedTuple

from audit.formats.damage import Kind
from audit.formats.pickle_values import Refused
from audit.storage import RangeReader, prefetch

_END = Struct("<4s4H2IH").unpack_from  # 22 bytes
_END64 = Struct("<4sQ2H2I4Q").unpack_from  # 56 bytes
_LOCATOR = Struct("<4sIQI").unpack_from  # 20 bytes
_ENTRY = Struct("<4s6H3I5H2I").unpack_from  # 46 bytes
_LOCAL = Struct("<4s5H3I2H").unpack_from  # 30 bytes
_TAIL = 22 + 20 + 56
_MAX_RECORDS = 300_000  # an optimizer of 20 000 parameters has 60 000; each takes 400 bytes of memory
_MAX_DIRECTORY = 64 << 20
_DIRECTORY = 0x10  # torch returns uninitialised memory for a record that is marked as one
_HARMLESS_FLAGS = (
    0x80E  # sizes after the payload, names in UTF-8, how hard it was compressed; others change how it is read
)


class Record(NamedTuple):
    """One record: ``offset`` and ``size`` of its payload in the file, ``crc`` according to the directory."""

    name: str
    offset: int
    size: int
    crc: int


class _Entry(NamedTuple):
    name: str
    raw: bytes
    header: int
    size: int
    crc: int


def ends_well(reader: RangeReader) -> bool:
    """Whether a file ends as a zip archive does: the end record is written last."""
    return reader.size >= 22 and reader.read(reader.size - 22, 4) == b"PK\x05\x06"


def read_directory(reader: RangeReader, strict: bool = False) -> dict[str, Record]:
    """Return the records by name, in the order of the file. Raises Refused.

    A record's own header says where its payload begins. It is read for all records but tensors; for these only if the
    payload is not where torch puts it (the next multiple of 64), and with ``strict`` always.
    """
    size = reader.size
    if size < 22:
        raise Refused(f"is truncated: {size} bytes are too few for a zip archive")
    tail_at = max(0, size - _TAIL)
    tail = reader.read(tail_at, _TAIL)
    if tail[-22:-18] != b"PK\x05\x06":
        raise Refused(_no_end(reader, size, tail))
    _, disk, disk0, here, count, length, start, comment = _END(tail, len(tail) - 22)
    if comment:
        raise Refused("is not a valid archive: its end record announces a comment that is missing")
    end = size - 22
    if len(tail) == _TAIL and tail[56:60] == b"PK\x06\x07":
        _, _, end64, disks = _LOCATOR(tail, 56)
        if end64 != tail_at or tail[:4] != b"PK\x06\x06":
            raise Refused("is not a valid archive: bytes before its 64-bit end record are missing or were added")
        _, rest, _, _, disk, disk0, here, count, length, start = _END64(tail, 0)
        if rest != 56 - 12 or disks != 1:
            raise Refused("is not a valid archive: its 64-bit end record is damaged")
        end = end64
    if disk or disk0 or here != count:
        raise Refused("is not a valid archive: it claims to continue in another file")
    if count > _MAX_RECORDS or length > _MAX_DIRECTORY:
        raise Refused(f"has a directory of {count} records", Kind.OVERSIZED)
    if start + length != end:
        raise Refused(
            f"is not a valid archive: its directory should end at byte {end} and ends at {start + length}"
            + ("; bytes before it are missing" if start + length > end else "")
        )
    directory = reader.read(start, length)
    if len(directory) < length:
        raise Refused("became shorter while it was read")
    return _records(reader, _entries(directory, count, start), start, strict)


def _no_end(reader: RangeReader, size: int, tail: bytes) -> str:
    block = reader.read(max(0, size - (1 << 16)), 1 << 16)
    at = block.rfind(b"PK\x05\x06")
    if at >= 0 and len(block) - at > 22:
        return f"has {len(block) - at - 22} bytes after the end of its archive"
    if reader.read(0, 4) == b"PK\x03\x04":
        zeros = "; its last bytes are zeros" if not tail.strip(b"\0") else ""
        return f"is truncated: it ends after {size} bytes, without the zip directory{zeros}"
    return "is not a torch archive"


def _entries(directory: bytes, count: int, limit: int) -> list[_Entry]:
    records: list[_Entry] = []
    names: set[bytes] = set()
    position = 0
    for _ in range(count):
        if position + 46 > len(directory):
            raise Refused("is not a valid archive: its directory is shorter than it says")
        entry = _ENTRY(directory, position)
        flags, method, crc, packed, size = entry[3], entry[4], entry[7], entry[8], entry[9]
        name_length, extra_length, header = entry[10], entry[11], entry[16]
        after_name = position + 46 + name_length
        position = after_name + extra_length + entry[12]
        if entry[0] != b"PK\x01\x02" or position > len(directory):
            raise Refused("is not a valid archive: its directory is damaged")
        raw_name = directory[after_name - name_length : after_name]
        if 0xFFFFFFFF in (size, packed, header):
            extra = directory[after_name : after_name + extra_length]
            size, packed, header = _wide(extra, size, packed, header)
        try:
            name = str(raw_name, "utf-8")
        except UnicodeDecodeError:
            name = "\n"
        if not name.isprintable():
            raise Refused("is not a valid archive: a record has a name that cannot be printed")
        if flags & ~_HARMLESS_FLAGS or entry[13]:
            raise Refused(f"is not a valid archive: record {name} is encrypted or continues in another file")
        if entry[15] & _DIRECTORY:
            raise Refused(f"is not a valid archive: record {name} is marked as a directory")
        if method != 0 or packed != size:
            _compressed(name, packed, size)
        folded = raw_name.lower()  # torch ignores case
        if folded in names:
            raise Refused(f"is not a valid archive: it has two records named {name}")
        names.add(folded)
        if header + 30 + name_length + size > limit:
            raise Refused(f"is not a valid archive: record {name} extends past the directory")
        records.append(_Entry(name, raw_name, header, size, crc))
    if position != len(directory):
        raise Refused("is not a valid archive: its directory is longer than it says")
    records.sort(key=_header)
    return records


def _header(entry: _Entry) -> int:
    return entry.header


def _records(reader: RangeReader, entries: list[_Entry], end: int, strict: bool) -> dict[str, Record]:
    records: dict[str, Record] = {}
    placed = [
        (entry, entries[position + 1].header if position + 1 < len(entries) else end, _usual(entry))
        for position, entry in enumerate(entries)
    ]
    looked_at = [
        strict or b"/data/" not in entry.raw or following - offset - entry.size not in (16, 24)
        for entry, following, offset in placed
    ]
    prefetch(
        reader, [(item[0].header, 30 + len(item[0].raw)) for item, look in zip(placed, looked_at, strict=True) if look]
    )
    for position, (entry, following, offset) in enumerate(placed):
        if looked_at[position]:
            offset = _locate(reader, entry)
        if offset + entry.size > following:
            other = entries[position + 1].name if position + 1 < len(entries) else "the directory"
            raise Refused(f"is not a valid archive: records {entry.name} and {other} overlap")
        records[entry.name] = Record(entry.name, offset, entry.size, entry.crc)
    return records


def _usual(entry: _Entry) -> int:
    """Where torch puts a payload: header, name, at least 4 bytes of padding up to a multiple of 64.

    16 or 24 bytes of CRC follow it.
    """
    return (entry.header + 34 + len(entry.raw) + 63) & ~63


def _compressed(name: str, packed: int, size: int) -> None:
    if size > 1 << 20 and size > 100 * packed:
        message = f"has record {name}, which would grow from {packed} to {size} bytes; torch never compresses"
        raise Refused(message, Kind.OVERSIZED)
    raise Refused(f"is not a torch archive: record {name} is compressed, and torch never compresses")


def _wide(extra: bytes, size: int, packed: int, header: int) -> tuple[int, int, int]:
    """Return the 64-bit values: the extra field of type 1 has, in this order, those that did not fit."""
    position = 0
    while position + 4 <= len(extra):
        kind = extra[position] | extra[position + 1] << 8
        length = extra[position + 2] | extra[position + 3] << 8
        if kind == 1:
            body = extra[position + 4 : position + 4 + length]
            values = []
            for value in (size, packed, header):
                if value == 0xFFFFFFFF:
                    if len(body) < 8:
                        raise Refused("is not a valid archive: a 64-bit size is missing in its directory")
                    value = int.from_bytes(body[:8], "little")
                    body = body[8:]
                values.append(value)
            return values[0], values[1], values[2]
        position += 4 + length
    return size, packed, header


def _locate(reader: RangeReader, entry: _Entry) -> int:
    head = reader.read(entry.header, 30 + len(entry.raw))
    if len(head) < 30 or head[:4] != b"PK\x03\x04":
        raise Refused(f"is not a valid archive: the header of record {entry.name} is damaged")
    _, _, flags, method, _, _, _, _, _, name_length, extra_length = _LOCAL(head, 0)
    if method or flags & ~_HARMLESS_FLAGS or name_length != len(entry.raw) or head[30:] != entry.raw:
        raise Refused(f"is not a valid archive: the header of record {entry.name} contradicts the directory")
    return int(entry.header + 30 + name_length + extra_length)
