"""Write torch zip archives without torch, as ``torch.save`` writes them."""

import pickle
from io import BytesIO
from math import prod
from random import Random
from struct import pack
from typing import Any, ClassVar, NamedTuple
from zlib import crc32

from audit.formats.pickle_values import ITEM_SIZES, STORAGE_DTYPES, Call, Global, TensorRef
from audit.formats.torch_archive import TorchArchive
from audit.storage import RangeReader

_STORAGES = {dtype: name for name, dtype in reversed(STORAGE_DTYPES.items()) if not name.startswith(("Q", "Un"))}


class Name:
    """A class or function named in a pickle, never imported. One object per name, so that a pickle memoises it."""

    full: str
    _known: ClassVar[dict[str, "Name"]] = {}

    def __new__(cls, full: str) -> "Name":
        """Return the one object for ``module.name``."""
        if full not in cls._known:
            cls._known[full] = super().__new__(cls)
            cls._known[full].full = full
        return cls._known[full]

    def __call__(self) -> None:
        """Exist, because a pickler asks whether a function is callable."""


class Made(NamedTuple):
    """An object that a pickle makes by calling ``name`` with ``args`` and giving it ``state``.

    With a state and no arguments the class is not called: the object is made empty, as ``pickle`` does it.
    """

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None

    def __hash__(self) -> int:
        """By identity: it may be a key, though its state has no hash."""
        return id(self)


class FakeTensor(NamedTuple):
    """A contiguous tensor: ``data`` are its little-endian elements, ``dtype`` a safetensors code."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class _Storage(NamedTuple):
    key: str
    tensor: FakeTensor


_PurePython: Any = pickle._Pickler  # noqa: SLF001 - the one in C cannot name what it cannot import


class _Pickler(_PurePython):  # type: ignore[misc]
    dispatch: ClassVar[dict[Any, Any]] = dict(_PurePython.dispatch)

    def __init__(self, file: BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.storages: list[FakeTensor] = []

    def persistent_id(self, obj: Any) -> Any:
        if type(obj) is not _Storage:
            return None
        count = len(obj.tensor.data) // ITEM_SIZES[obj.tensor.dtype]
        return ("storage", Name(f"torch.{_STORAGES[obj.tensor.dtype]}"), obj.key, "cpu", count)

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is Made and obj.state is not None and not obj.args:
            return NotImplemented  # save_new
        if type(obj) is Made:
            rest = () if obj.state is None else (obj.state,)
            return (Name(obj.name), obj.args, *rest)
        if type(obj) is not FakeTensor:
            return NotImplemented
        storage = _Storage(str(len(self.storages)), obj)
        self.storages.append(obj)
        stride = tuple(prod(obj.shape[axis + 1 :]) for axis in range(len(obj.shape)))
        hooks = Made("collections.OrderedDict")
        return Name("torch._utils._rebuild_tensor_v2"), (storage, 0, tuple(obj.shape), stride, False, hooks)

    def save_name(self, obj: Name) -> None:
        module, _, name = obj.full.rpartition(".")
        if self.proto >= 4:
            self.save(module)
            self.save(name)
            self.write(b"\x93")
        else:
            self.write(f"c{module}\n{name}\n".encode())
        self.memoize(obj)

    def save_new(self, obj: Made) -> None:
        """An object whose class is not called, only its state is set: what ``pickle`` does with most objects."""
        self.save(Name(obj.name))
        self.write(b")\x81")
        self.memoize(obj)
        self.save(obj.state)
        self.write(b"b")

    dispatch[Name] = save_name
    dispatch[Made] = save_new


def pickle_bytes(value: Any, protocol: int = 2) -> bytes:
    """Return a bare pickle of ``value``, which may hold :class:`Name` and :class:`Made`."""
    file = BytesIO()
    _Pickler(file, protocol).dump(value)
    return file.getvalue()


def torch_archive_bytes(value: Any, root: str = "archive", crc: bool = True, protocol: int = 2) -> bytes:
    """Return the archive that ``torch.save(value, f"{root}.pt")`` writes; tensors are :class:`FakeTensor`.

    ``crc=False`` is what ``torch.serialization.set_crc32_options(False)`` gives: every CRC is 0.
    """
    file = BytesIO()
    pickler = _Pickler(file, protocol)
    pickler.dump(value)
    records = {"data.pkl": file.getvalue(), ".format_version": b"1", ".storage_alignment": b"64"}
    records["byteorder"] = b"little"
    records.update((f"data/{key}", tensor.data) for key, tensor in enumerate(pickler.storages))
    records["version"] = b"3\n"
    records[".data/serialization_id"] = f"{Random(crc32(file.getvalue())).randrange(10**40):040}".encode()
    return zip_bytes({f"{root}/{name}": data for name, data in records.items()}, crc)


def zip_bytes(records: dict[str, bytes], crc: bool = True) -> bytes:
    """Return a zip archive of ``records`` in torch's layout: stored, payloads at multiples of 64."""
    out = bytearray()
    directory = bytearray()
    for name, data in records.items():
        raw = name.encode()
        header = len(out)
        padding = -(header + 34 + len(raw)) % 64
        check = crc32(data) if crc else 0
        out += pack("<4s5H3I2H", b"PK\x03\x04", 0, 0x808, 0, 0, 0, 0, 0, 0, len(raw), 4 + padding)
        out += raw + pack("<2sH", b"FB", padding) + b"Z" * padding + data
        out += pack("<4s3I", b"PK\x07\x08", check, len(data), len(data))
        entry = (b"PK\x01\x02", 0, 0, 0x808, 0, 0, 0, check, len(data), len(data), len(raw), 0, 0, 0, 0, 0, header)
        directory += pack("<4s6H3I5H2I", *entry) + raw
    start, end, count = len(out), len(out) + len(directory), len(records)
    out += directory
    out += pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 798, 45, 0, 0, count, count, len(directory), start)
    out += pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    return bytes(out + pack("<4s4H2IH", b"PK\x05\x06", 0, 0, *[min(count, 0xFFFF)] * 2, len(directory), start, 0))


def rebuild(reader: RangeReader, archive: TorchArchive, value: Any) -> Any:
    """Turn what the reader gave back into what the writer takes, tensors with their bytes. For sound files only."""
    if type(value) is TensorRef:
        size = ITEM_SIZES[value.dtype]
        start = archive.records[f"data/{value.storage}"].offset + value.offset * size
        return FakeTensor(value.dtype, value.shape, reader.read(start, value.elements * size))
    if type(value) is Global:
        return Name(value.name)
    if type(value) is Call:
        return Made(value.function, rebuild(reader, archive, value.args), rebuild(reader, archive, value.state))
    if type(value) is dict:
        return {key: rebuild(reader, archive, item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)([rebuild(reader, archive, item) for item in value])
    return value
