"""What a resume reads of a checkpoint and this program did not read: then the checkpoint is *not judged*.

Nothing is proven that was not read. That nothing was found in a file that nobody looked into says nothing about it.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from audit.facts.file import File, FileFormat, is_metadata
from audit.facts.recorded import Recorded
from audit.formats.damage import Damage, Kind

if TYPE_CHECKING:
    from audit.scan import FileScan


class Unread(NamedTuple):
    """Why a file was not read: ``reason`` completes "FILE ...". ``damaged``: other rules report it as a fault."""

    reason: str
    damaged: bool = True


def unread_of(checkpoint: Recorded, scan: "Mapping[str, FileScan] | None") -> dict[str, Unread]:
    """Return the files that a resume reads and that were not read, by path.

    ``scan`` is that of every byte, None at quick depth. Files that are missing are not among them: rules report those.
    Raises NotApplicable if the checkpoint is not complete.
    """
    layout = checkpoint.layout
    roles = dict(_roles(checkpoint))
    found: dict[str, Unread] = {}
    for path in sorted(layout.read_by_resume):
        file = checkpoint.files.get(path)
        if file is None:
            continue
        own = Unread(layout.unread[path], False) if path in layout.unread else None
        if (why := _why(checkpoint, file, scan) or roles.get(path) or own) is not None:
            found[path] = why
    return found


def _why(checkpoint: Recorded, file: File, scan: "Mapping[str, FileScan] | None") -> Unread | None:
    """Why nothing is known of a file by itself, None if it was read."""
    layout = checkpoint.layout
    if not file.readable:
        return Unread("is not a regular file of this checkpoint")
    content = checkpoint.content(file)
    if isinstance(content, Damage):
        # The metadata of a state in thousands of shards is legitimately that large.
        return Unread(content.message, not (content.kind is Kind.OVERSIZED and is_metadata(file.entry.name)))
    if file.path in (*layout.sharded_weights, *layout.sharded_optimizer) and not _understood(checkpoint, file):
        return Unread(f"is a part of a sharded state ({layout.kind}), which is not read", False)
    if file.format is FileFormat.OTHER and not _understood(checkpoint, file):
        return Unread("is in a format that is not read", False)
    found = scan.get(file.path) if scan is not None else None
    if scan is not None and (found is None or found.error):
        return Unread(found.error if found is not None and found.error else "could not be read to its end")
    return None


def _understood(checkpoint: Recorded, file: File) -> bool:
    """Whether the part of a sharded state was read with all others of it."""
    if checkpoint.layout.kind == "deepspeed":
        return checkpoint.optional("zero") is not None
    directory = file.path.rpartition("/")[0]
    return any(state.directory == directory for state in checkpoint.optional("shards") or ())


def _roles(checkpoint: Recorded) -> Iterator[tuple[str, Unread]]:
    """The files whose contents are not what their role asks for: there is no fact of them."""
    layout = checkpoint.layout
    for role in ("optimizer", "scheduler", "scaler"):
        path = getattr(layout, role)
        if path and checkpoint.optional(role) is None:
            yield path, Unread(f"holds no {role} state that can be read")
    states = checkpoint.optional("rng") or {}
    for path in layout.rng:
        if path not in states:
            yield path, Unread("holds no state of random number generators that can be read")
    for state in checkpoint.optional("shards") or ():
        path = state.tables[0]
        if state.optimizers and path in layout.sharded_optimizer and checkpoint.optional("optimizer") is None:
            yield path, Unread("names an optimizer state of a form that is not read", False)
