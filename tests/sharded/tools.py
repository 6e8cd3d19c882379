"""Ways to damage a sharded state that torch.distributed.checkpoint wrote: at rest, in its tables, in its values."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

from audit.formats.dcp import Item, Section, ShardMetadata, read_sections, shard_metadata_in
from audit.formats.pickles import Pickle, load_pickle
from audit.storage import BytesReader

METADATA = ".metadata"


def shard(folder: Path, rank: int) -> Path:
    """The shard file of a rank."""
    return folder / f"__{rank}_0.distcp"


def sections(folder: Path) -> dict[Path, list[Section]]:
    """The items of each shard file, as the audit reads them."""
    pickle = load_pickle((folder / METADATA).read_bytes())
    assert isinstance(pickle, Pickle)
    metadata = shard_metadata_in(pickle)
    assert isinstance(metadata, ShardMetadata)
    by_file: dict[Path, list[Item]] = {}
    for item in metadata.items:
        by_file.setdefault(folder / item.file, []).append(item)
    return {path: read_sections(BytesReader(path.read_bytes()), items, True) for path, items in by_file.items()}


def largest(folder: Path, rank: int) -> tuple[Path, Section]:
    """The item with the most elements in a rank's shard."""
    path = shard(folder, rank)
    found = [item for item in sections(folder)[path] if item.data is not None]
    return path, max(found, key=lambda item: item.data.size if item.data is not None else 0)


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Write ``data`` at ``offset``; the size stays."""
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def in_elements(folder: Path, rank: int, change: Callable[[bytes], bytes]) -> None:
    """Change the bytes of the elements of the largest item, as a disk does: no checksum follows."""
    path, section = largest(folder, rank)
    assert section.data is not None
    start, size = section.data.offset, section.data.size
    overwrite(path, start, change(path.read_bytes()[start : start + size]))


def set_values(folder: Path, wanted: Callable[[str], bool], change: Callable[[bytes], bytes]) -> None:
    """Change the elements of every item whose name is ``wanted``, with right checksums, as if saved so."""
    for path, found in sections(folder).items():
        data = bytearray(path.read_bytes())
        for section in found:
            record = section.data
            if record is None or not wanted(section.item.name):
                continue
            new = change(bytes(data[record.offset : record.offset + record.size]))
            assert len(new) == record.size
            _put(data, section, record.name, record.offset, new)
        path.write_bytes(bytes(data))


def _put(data: bytearray, section: Section, name: str, offset: int, new: bytes) -> None:
    """Write the elements of a record and its CRC into all places that hold it: directory, local header, descriptor."""
    start, end = section.item.start, section.item.start + section.item.length
    old = crc32(data[offset : offset + len(new)]).to_bytes(4, "little")
    right = crc32(new).to_bytes(4, "little")
    data[offset : offset + len(new)] = new
    entry = data.index(name.encode(), data.index(b"PK\1\2", offset, end)) - 46
    while data[entry : entry + 4] != b"PK\1\2":  # the name within that of another record
        entry = data.index(name.encode(), entry + 47, end) - 46
    local = start + int.from_bytes(data[entry + 42 : entry + 46], "little")
    after = offset + len(new)
    for place in (entry + 16, local + 14, after + 4 if data[after : after + 4] == b"PK\7\x08" else entry + 16):
        if data[place : place + 4] == old:
            data[place : place + 4] = right


def edit_metadata(folder: Path, edit: Callable[[Any], None]) -> None:
    """Change the metadata as torch has it. Needs torch."""
    path = folder / METADATA
    with open(path, "rb") as file:
        metadata = pickle.load(file)
    edit(metadata)
    path.write_bytes(pickle.dumps(metadata))


def drop(folder: Path, wanted: Callable[[str], bool], *, places_only: bool = False) -> None:
    """Take entries out of all tables, or out of that of places alone."""

    def edit(metadata: Any) -> None:
        metadata.storage_data = {key: value for key, value in metadata.storage_data.items() if not wanted(key.fqn)}
        if not places_only:
            for name in [name for name in metadata.state_dict_metadata if wanted(name)]:
                del metadata.state_dict_metadata[name]
                metadata.planner_data.pop(name, None)

    edit_metadata(folder, edit)


def drop_chunk(folder: Path, wanted: Callable[[str], bool]) -> None:
    """Take the last chunk of a tensor out of both tables."""

    def edit(metadata: Any) -> None:
        name = next(name for name in metadata.state_dict_metadata if wanted(name))
        offsets = metadata.state_dict_metadata[name].chunks.pop().offsets
        for key in [key for key in metadata.storage_data if key.fqn == name and key.offset == offsets]:
            del metadata.storage_data[key]

    edit_metadata(folder, edit)


def exchange_chunks(folder: Path, one: Callable[[str], bool], other: Callable[[str], bool]) -> None:
    """Exchange the places of two tensors of one shape, chunk by chunk."""

    def edit(metadata: Any) -> None:
        places = metadata.storage_data
        pairs = zip([key for key in places if one(key.fqn)], [key for key in places if other(key.fqn)], strict=True)
        for first, second in pairs:
            places[first], places[second] = places[second], places[first]

    edit_metadata(folder, edit)
