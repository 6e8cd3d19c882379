"""Read what torch.distributed.checkpoint (DCP) saved: ``.metadata`` and its items in ``__R_K.distcp``.

Source: torch 2.13, ``torch/distributed/checkpoint/metadata.py`` and ``filesystem.py``. ``.metadata`` is a bare pickle,
which torch loads as it is; here it is interpreted, and no class is imported. A shard file is a row of items, each a
torch archive of its own, at the places that the metadata says.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from audit.formats.damage import Damage, Kind
from audit.formats.pickle_calls import FREE_UNITS
from audit.formats.pickle_values import TORCH_DTYPES, Call, Global, TensorRef
from audit.formats.pickles import Pickle
from audit.formats.torch_archive import read_torch
from audit.formats.zip_directory import Record
from audit.storage import RangeReader

_MODULE = "torch.distributed.checkpoint"
_METADATA, _INDEX = f"{_MODULE}.metadata.Metadata", f"{_MODULE}.metadata.MetadataIndex"
_TENSOR, _BYTES = f"{_MODULE}.metadata.TensorStorageMetadata", f"{_MODULE}.metadata.BytesStorageMetadata"
_CHUNK, _PLACE = f"{_MODULE}.metadata.ChunkStorageMetadata", f"{_MODULE}.filesystem._StorageInfo"
_SAVE = f"{_MODULE}.metadata.StorageMeta"
_SHARD = re.compile(r"__([0-9]{1,6})_[0-9]{1,6}\.distcp", re.ASCII)
_LARGEST, _DIMENSIONS = 1 << 62, 64


class Chunk(NamedTuple):
    """A part of a tensor, in elements of each dimension."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.sizes)


class Saved(NamedTuple):
    """One entry of the state: a tensor in chunks, or a value (``dtype`` is None then).

    ``dtype`` is a safetensors code, empty for one that is not known here.
    """

    name: str
    dtype: str | None
    size: tuple[int, ...] = ()
    chunks: tuple[Chunk, ...] = ()


class Item(NamedTuple):
    """Where a chunk (at ``offsets``) or a value (None) is: ``length`` bytes from ``start`` of ``file``."""

    name: str
    offsets: tuple[int, ...] | None
    file: str
    start: int
    length: int


class ShardMetadata(NamedTuple):
    """What ``.metadata`` says. ``transformed``: items are compressed or encrypted, so they cannot be read here.

    ``save_id`` is another one for each save, None in files of versions that wrote none.
    """

    entries: Mapping[str, Saved]
    items: tuple[Item, ...]
    transformed: bool
    save_id: str | None = None

    @property
    def least_ranks(self) -> int:
        """A lower bound of the number of processes that saved it: a rank that had nothing to write left no file."""
        ranks = [int(found[1]) for item in self.items if (found := _SHARD.fullmatch(item.file))]
        return max(ranks, default=-1) + 1


class Section(NamedTuple):
    """One item of a shard file; ``key`` names it among those of its file.

    ``damage``: it could not be read; the rest is empty then. ``ref`` is its tensor, or else ``value`` its value;
    ``scalar`` the number in a tensor of one element. ``records`` are those of its archive, with offsets in the file.
    ``crc_written`` and ``little`` (the byte order) as in :class:`~audit.formats.torch_archive.TorchArchive`.
    """

    item: Item
    key: str
    damage: Damage | None = None
    ref: TensorRef | None = None
    value: Any = None
    scalar: float | int | None = None
    records: tuple[Record, ...] = ()
    crc_written: bool = False
    little: bool = True
    names: tuple[str, ...] = ()
    units: int = 0

    @property
    def data(self) -> Record | None:
        """The record that holds the elements of its tensor."""
        wanted = f"/data/{self.ref.storage}" if self.ref is not None else None
        return next((item for item in self.records if wanted and item.name.endswith(wanted)), None)


class _Odd(Exception):
    """The metadata has another shape than torch writes."""


def shard_metadata_in(pickle: Pickle) -> ShardMetadata | Damage:
    """Return what ``.metadata`` says."""
    try:
        return _metadata(pickle.value)
    except _Odd as odd:
        return Damage(Kind.MALFORMED, f"is not the metadata of a sharded state: {odd}")


def _metadata(value: Any) -> ShardMetadata:
    state = _state(value, _METADATA, "it holds another object")
    listed, stored = state.get("state_dict_metadata"), state.get("storage_data")
    if type(listed) is not dict or type(stored) is not dict:
        raise _Odd("it has no table of tensors or none of places")
    entries = {}
    for name, entry in listed.items():
        if type(name) is not str:
            raise _Odd("an entry has no name")
        entries[name] = _saved(name, entry)
    transformed = False
    items = []
    for index, place in stored.items():
        key, where = _state(index, _INDEX, "a place has no index"), _state(place, _PLACE, "a place is not described")
        transformed |= bool(where.get("transform_descriptors"))
        items.append(_item(key, where))
    saved = state.get("storage_meta")
    said = (
        saved.state.get("save_id")
        if type(saved) is Call and saved.function == _SAVE and type(saved.state) is dict
        else None
    )
    return ShardMetadata(entries, tuple(items), transformed, said if type(said) is str else None)


def together(tables: Mapping[int, ShardMetadata]) -> ShardMetadata:
    """Put the metadata of each process together, as a save with all of them would have written one.

    Source: torch 2.13, ``dcp.save(use_collectives=False)``: each process writes ``__R.metadata`` with its own chunks of
    a tensor and its own copy of all that is not divided. Where two have tensors of one name and of other shapes, each
    loads its own again, so the later ones get names of their own here.
    """
    entries: dict[str, Saved] = {}
    items: list[Item] = []
    for rank, table in tables.items():
        own: dict[str, str] = {}
        for name, entry in table.entries.items():
            known = entries.get(name)
            if known is not None and (known.dtype, known.size) != (entry.dtype, entry.size):
                own[name] = f"{name} of process {rank}"
                entries[own[name]] = entry._replace(name=own[name])
            elif known is None:
                entries[name] = entry
            elif known.chunks != entry.chunks:
                entries[name] = known._replace(chunks=tuple(dict.fromkeys((*known.chunks, *entry.chunks))))
        items += [item._replace(name=own.get(item.name, item.name)) for item in table.items]
    transformed = any(table.transformed for table in tables.values())
    return ShardMetadata(entries, tuple(items), transformed, next(iter(tables.values())).save_id)


def _state(value: Any, function: str, problem: str) -> dict[Any, Any]:
    if type(value) is not Call or value.function != function or type(value.state) is not dict:
        raise _Odd(problem)
    return value.state


def _saved(name: str, entry: Any) -> Saved:
    if type(entry) is Call and entry.function == _BYTES:
        return Saved(name, None)
    state = _state(entry, _TENSOR, f"{name} is neither a tensor nor a value")
    chunks = state.get("chunks")
    if type(chunks) is not list:
        raise _Odd(f"{name} has no list of chunks")
    parts = [_state(chunk, _CHUNK, f"a chunk of {name} is not described") for chunk in chunks]
    size = _numbers(state.get("size"), name)
    found = tuple(Chunk(_numbers(part.get("offsets"), name), _numbers(part.get("sizes"), name)) for part in parts)
    if any(len(chunk.offsets) != len(size) or len(chunk.sizes) != len(size) for chunk in found):
        raise _Odd(f"a chunk of {name} has another number of dimensions")
    return Saved(name, _dtype(state.get("properties")), size, found)


def _dtype(properties: Any) -> str:
    """The element type: the first of the tuple, or the field, that the properties were saved as."""
    state = properties.state if type(properties) is Call else None
    found = state[0] if type(state) is tuple and state else state.get("dtype") if type(state) is dict else None
    return TORCH_DTYPES.get(found.name.removeprefix("torch."), "") if type(found) is Global else ""


def _numbers(value: Any, name: str) -> tuple[int, ...]:
    if type(value) is not tuple or len(value) > _DIMENSIONS:
        raise _Odd(f"{name} has a shape that is not a tuple")
    if not all(type(number) is int and 0 <= number < _LARGEST for number in value):
        raise _Odd(f"{name} has a shape that is not of numbers")
    return value


def _item(index: Mapping[str, Any], place: Mapping[str, Any]) -> Item:
    name, offsets = index.get("fqn"), index.get("offset")
    file, start, length = place.get("relative_path"), place.get("offset"), place.get("length")
    if type(name) is not str or type(file) is not str:
        raise _Odd("a place has no name or no file")
    if not all(type(number) is int and 0 <= number < _LARGEST for number in (start, length)):
        raise _Odd(f"the place of {name} is not given in bytes")
    return Item(name, None if offsets is None else _numbers(offsets, name), file, start, length)  # type: ignore[arg-type]


class _Window:
    """A part of a file, read as a file of its own."""

    def __init__(self, reader: RangeReader, start: int, size: int) -> None:
        self._reader = reader
        self._start = start
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        return self._reader.read(self._start + offset, max(0, min(length, self.size - offset)))

    def read_into(self, offset: int, buffer: memoryview) -> int:
        part = buffer[: max(0, min(len(buffer), self.size - offset))]
        return self._reader.read_into(self._start + offset, part)


def read_sections(reader: RangeReader, items: Sequence[Item], strict: bool) -> list[Section]:
    """Read the items of one shard file, in the order of their places.

    ``strict`` as in :func:`~audit.formats.torch_archive.read_torch`.
    """
    found: list[Section] = []
    keys: dict[str, int] = {}
    end = units = 0
    for item in sorted(items, key=lambda item: item.start):
        key = item.name if item.name not in keys else f"{item.name}{list(item.offsets or ())}"
        again = keys[key] = keys.get(key, 0) + 1
        if again > 1:
            key += f"#{again}"
        damage = None
        if item.start + item.length > reader.size:
            damage = Damage(Kind.MALFORMED, f"ends at byte {item.start + item.length}, but the file has {reader.size}")
        elif item.start < end:
            damage = Damage(Kind.MALFORMED, "overlaps the one before it")
        elif units > FREE_UNITS:
            damage = Damage(Kind.OVERSIZED, "comes after items that take more memory than those of any checkpoint")
        end = max(end, item.start + item.length)
        if damage is not None:
            found.append(Section(item, key, damage))
            continue
        section = _section(_Window(reader, item.start, item.length), item, key, strict)
        units += section.units
        found.append(section)
    return found


def _section(window: _Window, item: Item, key: str, strict: bool) -> Section:
    archive = read_torch(window, strict)
    if isinstance(archive, Damage):
        return Section(item, key, archive)
    ref = archive.value if type(archive.value) is TensorRef else None
    records = tuple(record._replace(offset=item.start + record.offset) for record in archive.records.values())
    value = archive.value if ref is None else None
    scalar = archive.scalars.get(ref) if ref is not None else None
    little, names = archive.byteorder == "little", archive.names
    return Section(item, key, None, ref, value, scalar, records, archive.crc_written, little, names, archive.units)


def faults(metadata: ShardMetadata) -> Iterator[tuple[str, str]]:
    """Yield (name, what is wrong) of each entry whose chunks or places are not all there: it completes "NAME ...".

    torch compares the chunks with the tensor when it saves (``_validate_global_plan``), and never when it loads: rows
    that no chunk has keep the values that they had before.
    """
    placed: dict[str, set[tuple[int, ...] | None]] = {}
    for item in metadata.items:
        placed.setdefault(item.name, set()).add(item.offsets)
    for name in placed.keys() - metadata.entries.keys():
        yield name, "is stored, but not in the table of tensors"
    for name, entry in metadata.entries.items():
        there = placed.get(name, set())
        if entry.dtype is None:
            if not there:
                yield name, "is not stored in any file"
            continue
        full = [chunk for chunk in entry.chunks if chunk.elements]
        if lost := [chunk for chunk in full if chunk.offsets not in there]:
            yield name, f"is not stored in any file from {list(lost[0].offsets)} on"
        elif any(not _inside(chunk, entry.size) for chunk in full):
            yield name, "has a chunk outside of its shape"
        elif (total := sum(chunk.elements for chunk in full)) != prod(entry.size):
            yield name, f"has chunks of {total} elements together, but {prod(entry.size)} elements"
        elif overlap(full):
            yield name, "has chunks that overlap"


def _inside(chunk: Chunk, size: tuple[int, ...]) -> bool:
    return all(start + length <= whole for start, length, whole in zip(chunk.offsets, chunk.sizes, size, strict=True))


def overlap(chunks: Sequence[Chunk]) -> bool:
    """Whether two chunks share an element; along the first dimension in which they differ only neighbours can."""
    ordered = sorted(chunks)
    for place, chunk in enumerate(ordered):
        for other in ordered[place + 1 : place + 65]:  # grids of several dimensions: as many neighbours as matter
            if other.offsets and other.offsets[0] >= chunk.offsets[0] + chunk.sizes[0]:
                break
            pairs = zip(chunk.offsets, chunk.sizes, other.offsets, other.sizes, strict=True)
            if all(a < b + n and b < a + m for a, m, b, n in pairs):
                return True
    return False
