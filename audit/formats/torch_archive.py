"""Read what ``torch.save`` wrote (the zip format of torch 1.6 and later) without torch and without executing it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from struct import Struct
from typing import Any, NamedTuple

from audit.formats.damage import Damage, Kind
from audit.formats.intake import placeholder
from audit.formats.pickle_names import is_harmless
from audit.formats.pickle_values import ITEM_SIZES, Refused, TensorRef
from audit.formats.pickles import MAX_BYTES, Pickle, load_pickle
from audit.formats.tensors import Tensor
from audit.formats.zip_directory import Record, read_directory
from audit.storage import RangeReader, is_distant, prefetch

__all__ = ["Record", "TorchArchive", "part_of", "read_torch", "scalar", "storages", "tensors"]

_LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
_LEGACY = (
    "is in torch's format from before version 1.6, which cannot be read without executing it; "
    "load and save it again with a current torch"
)
_OLDEST, _NEWEST = 1, 10
"""Versions of the archive that torch 2.13 reads: kMinSupportedFileFormatVersion to kMaxSupportedFileFormatVersion."""
_VERSION = re.compile(rb"[ \t-\r]*\+?(\d{1,19})")  # what std::stoull takes for a number; anything may follow
_SMALL = 64
_READ_BY_NAME = frozenset(
    {
        "data.pkl",
        "version",
        ".data/version",
        "byteorder",
        ".format_version",
        ".storage_alignment",
        ".data/serialization_id",
    }
)
_NUMBERS = {
    "F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i", "I16": "h", "I8": "b", "U8": "B", "BOOL": "?",
    "U16": "H", "U32": "I", "U64": "Q",
}  # fmt: skip


class TorchArchive(NamedTuple):
    """The root object and the records of one file.

    ``records`` are keyed by their name below ``root`` (``data/0``, ``data.pkl``); a Record's own name has the root.
    ``names`` are the classes and functions that the pickle names. ``refs`` are all tensors in it, ``dtypes`` the
    element type of every storage by key. ``crc_written`` is False if torch was told to compute no CRC
    (``torch.serialization.set_crc32_options(False)``): every CRC is 0 then and proves nothing. ``refusal`` and
    ``units`` are those of :class:`~audit.formats.pickles.Pickle`. ``scalars`` are the values of the tensors of one
    element, counts of steps mostly, so that nothing but the scan opens the file again.
    """

    value: Any
    names: tuple[str, ...]
    records: dict[str, Record]
    root: str
    byteorder: str
    crc_written: bool
    refs: tuple[TensorRef, ...]
    dtypes: dict[str, str]
    refusal: str
    units: int
    scalars: Mapping[TensorRef, float | int] = {}


def put_together(
    value: Any, scalars: Mapping[TensorRef, float | int], names: tuple[str, ...] = (), refs: tuple[TensorRef, ...] = ()
) -> TorchArchive:
    """Return a value that was in several files as the archive of one file with all of it, without records."""
    return TorchArchive(value, names, {}, "", "little", False, refs, {}, "", 0, scalars)


def read_torch(reader: RangeReader, strict: bool = False) -> TorchArchive | Damage:
    """Read a torch archive: its directory, its pickle and the tensors of one element, no others.

    ``strict`` also compares the header of each record with the directory. CRCs are not checked here.
    """
    head = reader.read(0, 512)
    damage = placeholder(head, reader.size)
    if damage:
        return damage
    if head[:2] != b"PK":
        return _no_archive(reader, head)
    try:
        return _read(reader, strict)
    except Refused as refused:
        return Damage(refused.kind, refused.message)


def _read(reader: RangeReader, strict: bool) -> TorchArchive | Damage:
    found = read_directory(reader, strict)
    root = next((name[:-9] for name in found if name.endswith("/data.pkl") and name.count("/") == 1), None)
    if root is None:
        raise Refused("is not a torch archive: it has no data.pkl")
    records: dict[str, Record] = {}
    for name, record in found.items():
        if not name.startswith(f"{root}/"):
            raise Refused(f"is not a torch archive: record {name} is outside {root}/")
        records[name[len(root) + 1 :]] = record
    main = records["data.pkl"]
    if main.size > MAX_BYTES:
        raise Refused(f"has a pickle of {main.size} bytes, more than any checkpoint needs", Kind.OVERSIZED)
    small = [records[name] for name in _READ_BY_NAME if name in records and name != "data.pkl"]
    prefetch(reader, [(main.offset, main.size), *((record.offset, min(record.size, _SMALL)) for record in small)])
    data = reader.read(main.offset, main.size)
    if len(data) < main.size:
        raise Refused("became shorter while it was read")
    pickle = load_pickle(data, records=sum(name.startswith("data/") for name in records))
    if isinstance(pickle, Damage):
        return pickle
    _check(pickle, records)
    archive = TorchArchive(
        pickle.value,
        pickle.names,
        records,
        root,
        _byteorder(reader, records),
        any(record.crc for record in records.values()),
        pickle.tensors,
        {key: ref.dtype for key, ref in pickle.storages.items()},
        pickle.refusal,
        pickle.units,
    )
    single = dict.fromkeys(ref for ref in pickle.tensors if ref.elements == 1)
    numbers = _scalars(reader, archive, list(single))
    return archive._replace(scalars={ref: number for ref, number in numbers if number is not None})


def _scalars(
    reader: RangeReader, archive: TorchArchive, refs: Sequence[TensorRef]
) -> Iterator[tuple[TensorRef, float | int | None]]:
    """The values of tensors of one element.

    An optimizer counts its steps once for each parameter, the same number hundreds of times, between tensors of many
    megabytes. Of a distant file one of several records of the same size and CRC is read: the directory says that they
    are equal, and at full depth every CRC is checked.
    """
    if not is_distant(reader):
        yield from ((ref, scalar(reader, archive, ref)) for ref in refs)
        return
    first: dict[tuple[object, ...], TensorRef] = {}
    kinds = [_kind_of(archive, ref) for ref in refs]
    for ref, kind in zip(refs, kinds, strict=True):
        first.setdefault(kind, ref)
    there = [(archive.records[f"data/{ref.storage}"], ref) for ref in first.values()]
    sizes = [(record.offset + ref.offset * ITEM_SIZES[ref.dtype], ITEM_SIZES[ref.dtype]) for record, ref in there]
    prefetch(reader, sizes)
    values = {kind: scalar(reader, archive, ref) for kind, ref in first.items()}
    yield from ((ref, values[kind]) for ref, kind in zip(refs, kinds, strict=True))


def _kind_of(archive: TorchArchive, ref: TensorRef) -> tuple[object, ...]:
    """What two tensors of one element share if they are equal."""
    record = archive.records[f"data/{ref.storage}"]
    return (ref.dtype, ref.offset, record.size, record.crc) if record.crc else (ref,)


def _byteorder(reader: RangeReader, records: dict[str, Record]) -> str:
    """Return "little" or "big"; raise Refused for an archive whose small records torch does not accept."""
    if "constants.pkl" in records:
        raise Refused("is not a valid torch archive: it has a record constants.pkl, so torch reads it as TorchScript")
    for name in records:
        if name.lower() in _READ_BY_NAME and name not in _READ_BY_NAME:
            raise Refused(f"is not a valid torch archive: it has a record {name} instead of {name.lower()}")
    version = _small(reader, records, ".data/version" if ".data/version" in records else "version")
    number = _VERSION.match(version or b"")
    if number is None or not _OLDEST <= int(number[1]) <= _NEWEST:
        raise Refused(
            "is not a torch archive: it has no record version"
            if version is None
            else f"has the archive version {_shown(version)}; torch reads versions {_OLDEST} to {_NEWEST}"
        )
    alignment = _small(reader, records, ".storage_alignment")
    if alignment is not None and not _is_integer(alignment):
        raise Refused(f"is not a valid torch archive: its .storage_alignment is {_shown(alignment)}, not a number")
    try:
        str(_small(reader, records, ".data/serialization_id") or b"", "utf-8")
    except UnicodeDecodeError:
        raise Refused("is not a valid torch archive: its serialization_id is not text") from None
    order = _small(reader, records, "byteorder")
    if order not in (None, b"little", b"big"):
        raise Refused(f"is not a valid torch archive: its byteorder is {_shown(order or b'')}, not little or big")
    return "big" if order == b"big" else "little"


def _small(reader: RangeReader, records: dict[str, Record], name: str) -> bytes | None:
    record = records.get(name)
    return None if record is None else reader.read(record.offset, min(record.size, _SMALL))


def _is_integer(raw: bytes) -> bool:
    try:
        int(raw)
    except ValueError:
        return False
    return True


def _shown(raw: bytes) -> str:
    return ascii(str(raw[:20], "latin-1"))


def _check(pickle: Pickle, records: dict[str, Record]) -> None:
    for key, storage in pickle.storages.items():
        record = records.get(f"data/{key}")
        if record is None:
            raise Refused(f"is not a valid torch archive: the storage data/{key} that its pickle names is missing")
        needed = storage.numel * ITEM_SIZES[storage.dtype]
        if record.size != needed:
            raise Refused(f"is not a valid torch archive: storage data/{key} has {record.size} of {needed} bytes")
    for ref in pickle.tensors:
        if ref.extent > ref.numel:
            raise Refused(
                f"is not a valid torch archive: a tensor of shape {list(ref.shape)} extends past its storage"
                f" data/{ref.storage} of {ref.numel} elements"
            )


def _no_archive(reader: RangeReader, head: bytes) -> Damage:
    if head.startswith(_LEGACY_MAGIC) or (head[257:262] == b"ustar" and b"sys_info" in head[:100]):
        return Damage(Kind.MALFORMED, _LEGACY)
    if not head.strip(b"\0"):
        return Damage(Kind.MALFORMED, "is not a torch archive: it begins with zeros")
    pickle = load_pickle(reader.read(0, min(reader.size, MAX_BYTES)), trailing=True)
    if isinstance(pickle, Damage):
        if pickle.kind is Kind.UNSAFE:
            return pickle
        return Damage(Kind.MALFORMED, "is not a torch archive")
    unknown = [name for name in pickle.names if not is_harmless(name)]
    if unknown:
        return Damage(Kind.UNSAFE, f"is a bare pickle, not a torch archive, and names {unknown[0]}")
    return Damage(Kind.MALFORMED, "is not a torch archive: it is a bare pickle")


def part_of(archive: TorchArchive, place: Sequence[str | int]) -> TorchArchive | Damage:
    """Return the archive with what is at ``place`` in its root object (keys, positions) as its value."""
    value = archive.value
    for key in place:
        held = type(value) is list and type(key) is int and key < len(value)
        if not (held or (type(value) is dict and key in value)):
            return Damage(Kind.MALFORMED, f"holds no {'.'.join(map(str, place))}")
        value = value[key]
    return archive._replace(value=value)


def scalar(reader: RangeReader, archive: TorchArchive, ref: TensorRef) -> float | int | None:
    """Return the value of a tensor of one element; None if it has more, or a type that is not a plain number."""
    record = archive.records.get(f"data/{ref.storage}")
    if ref.elements != 1 or record is None:
        return None
    size = ITEM_SIZES[ref.dtype]
    raw = reader.read(record.offset + ref.offset * size, size)
    if len(raw) < size:
        return None
    order = ">" if archive.byteorder == "big" else "<"
    if ref.dtype == "BF16":
        raw = raw + b"\0\0" if order == ">" else b"\0\0" + raw
    code = "f" if ref.dtype == "BF16" else _NUMBERS.get(ref.dtype)
    if code is None:
        return None
    value: float | int = Struct(order + code).unpack(raw)[0]
    return value


def storages(archive: TorchArchive) -> dict[str, tuple[str, Record]]:
    """Return (element type, record) of every storage that the pickle names, by key."""
    return {key: (dtype, archive.records[f"data/{key}"]) for key, dtype in archive.dtypes.items()}


def tensors(archive: TorchArchive) -> dict[str, Tensor]:
    """Return the tensors of a flat state dict of weights by name; none if the root object is not one."""
    found: dict[str, Tensor] = {}
    if type(archive.value) is not dict:
        return found
    for name, ref in archive.value.items():
        if type(name) is str and type(ref) is TensorRef:
            size = ITEM_SIZES[ref.dtype]
            start = archive.records[f"data/{ref.storage}"].offset + ref.offset * size
            found[name] = Tensor(name, ref.dtype, ref.shape, start, (ref.extent - ref.offset) * size)
    return found
