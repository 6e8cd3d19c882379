"""The sharded states of torch.distributed.checkpoint in one checkpoint: metadata and shard files, read together."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from audit.backend.layout import Layout
from audit.errors import NotApplicable
from audit.facts.file import File, is_metadata, rank_of_metadata
from audit.formats.damage import Damage
from audit.formats.dcp import Item, Section, ShardMetadata, faults, read_sections, shard_metadata_in, together
from audit.formats.pickles import Pickle

if TYPE_CHECKING:
    from audit.scan import Span


_GROUP = re.compile(r"(.*\.)?param_groups\.([0-9]{1,9})\.[^.]+", re.ASCII | re.DOTALL)

Chunks = dict[tuple[str, tuple[int, ...] | None], tuple[int, ...]]
"""The sizes of each chunk by the name of its tensor and its offsets."""


class ShardedState(NamedTuple):
    """One directory with its metadata and its shard files.

    ``tables``: the paths of its metadata, ``.metadata``, or one of each process if they saved without each other; what
    these say is put together in ``metadata``. ``sections`` are the items by the path of their file, relative to the
    checkpoint. ``missing``: (file or entry, what is not there); ``broken``: (file, what is wrong with one of its
    items).
    """

    directory: str
    metadata: ShardMetadata
    sections: Mapping[str, tuple[Section, ...]]
    missing: tuple[tuple[str, str], ...]
    broken: tuple[tuple[str, str], ...]
    tables: tuple[str, ...]

    @property
    def optimizers(self) -> tuple[str, ...]:
        """What the names of each optimizer in it begin with: all that is before ``param_groups`` or ``state.``."""
        found: dict[str, None] = {}
        for name in self.metadata.entries:
            top, groups, rest = name.partition("param_groups")
            if groups and (not top or top.endswith(".")) and (not rest or rest.startswith(".")):
                found[top] = None
        if not found and any(name.startswith("optimizer.state.") for name in self.metadata.entries):
            found["optimizer."] = None
        return tuple(found)


def shards_of(layout: Layout, files: Mapping[str, File], strict: bool) -> tuple[ShardedState, ...]:
    """Read all sharded states that a resume loads.

    Raises NotApplicable if there is none, or one of them cannot be read: its metadata is damaged, which the rules on
    integrity report, or its items are compressed or encrypted.
    """
    parts = (*layout.sharded_weights, *layout.sharded_optimizer)
    tables: dict[str, list[str]] = {}
    for path in dict.fromkeys(path for path in parts if is_metadata(path)):
        tables.setdefault(path.rpartition("/")[0], []).append(path)
    if not tables:
        raise NotApplicable("there is no sharded state of torch.distributed.checkpoint")
    return tuple(_state(directory, tuple(paths), files, strict) for directory, paths in tables.items())


def _state(directory: str, tables: tuple[str, ...], files: Mapping[str, File], strict: bool) -> ShardedState:
    read = {rank_of_metadata(path): _metadata(path, files) for path in tables}
    path, (whole, *others) = tables[0], read.values()
    metadata = together({rank or 0: found for rank, found in read.items()}) if others else whole
    if metadata.transformed:
        raise NotApplicable(f"{directory} has items that are compressed or encrypted")
    by_file: dict[str, list[Item]] = {}
    for item in metadata.items:
        by_file.setdefault(item.file, []).append(item)
    chunks: Chunks = {
        (name, part.offsets): part.sizes
        for name, entry in metadata.entries.items()
        for part in reversed(entry.chunks)  # of two at one place the first
    }
    problems = (*faults(metadata), *_groups_lacking(metadata.entries))
    missing = [(path, f"{name} {problem}") for name, problem in problems]
    broken: list[tuple[str, str]] = []
    sections: dict[str, tuple[Section, ...]] = {}
    for name, items in sorted(by_file.items()):
        shard = files.get(inside(directory, name))
        if shard is None or not shard.readable or "/" in name:
            missing.append((inside(directory, name), "is not there, and the metadata names it"))
            continue
        found = shard.read(read_sections, items, strict)
        if isinstance(found, Damage):
            broken.append((shard.path, found.message))
            continue
        sections[shard.path] = tuple(found)
        broken += [(shard.path, problem) for problem in _problems(metadata, chunks, found)]
    return ShardedState(directory, metadata, sections, tuple(missing), tuple(broken), tables)


def _metadata(path: str, files: Mapping[str, File]) -> ShardMetadata:
    pickle = files[path].value
    metadata = shard_metadata_in(pickle) if isinstance(pickle, Pickle) else None
    if metadata is None or isinstance(metadata, Damage):
        raise NotApplicable(f"{path} {metadata.message if metadata is not None else 'is no pickle'}")
    return metadata


def inside(directory: str, name: str) -> str:
    """The path of a file in the directory of a state, which may be the checkpoint itself ("")."""
    return f"{directory}/{name}" if directory else name


def _groups_lacking(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """What parameter groups of an optimizer lack that each has: the names of the parameters, and the learning rate."""
    groups: dict[str, set[str]] = {}
    for name in names:
        if _GROUP.fullmatch(name):
            group, _, key = name.rpartition(".")
            groups.setdefault(group, set()).add(key)
    for group, keys in groups.items():
        yield from ((f"{group}.{key}", "is in no table") for key in ("params", "lr") if key not in keys)


def _problems(metadata: ShardMetadata, chunks: Chunks, sections: list[Section]) -> Iterator[str]:
    for section in sections:
        entry = metadata.entries.get(section.item.name)
        if section.damage is not None:
            yield f"{section.key} {section.damage.message}"
        elif entry is None:
            continue
        elif entry.dtype is None:
            if section.ref is not None and section.item.offsets is not None:
                yield f"{section.key} is a tensor, but the metadata says that it is a value"
        elif section.ref is None:
            yield f"{section.key} is not a tensor, but the metadata says that it is one"
        else:
            sizes = chunks.get((section.item.name, section.item.offsets))
            if sizes is not None and section.ref.shape != sizes:
                yield f"{section.key} has the shape {list(section.ref.shape)}, and the metadata says {list(sizes)}"
            elif entry.dtype and section.ref.dtype != entry.dtype:
                yield f"{section.key} has elements of {section.ref.dtype}, and the metadata says {entry.dtype}"


def spans_in(states: "tuple[ShardedState, ...]", path: str) -> "list[Span]":
    """Return the spans of a shard file: every record of every item, named ``ITEM/data/0``."""
    from audit.scan import Span

    spans = []
    for state in states:
        for section in state.sections.get(path, ()):
            elements = section.data
            for record in section.records:
                dtype = section.ref.dtype if section.ref and section.little and record == elements else None
                crc = record.crc if section.crc_written else None
                spans.append(Span(span_name(section, record.name), record.offset, record.size, dtype, crc, 0))
    return sorted(spans, key=lambda span: span.offset)


def span_name(section: Section, record: str) -> str:
    """The name of the span of a record of an item."""
    return f"{section.key}/{record.partition('/')[2]}"
