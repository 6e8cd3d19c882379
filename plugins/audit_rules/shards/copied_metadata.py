"""shards/copied-metadata."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, FileScan, NotApplicable, Severity, Violation, rule
from audit_rules._scans import was_read

if TYPE_CHECKING:
    from audit.plugin import ShardedState


@rule(
    Severity.INFO,
    remedy="Find out who copied it; the shards fit it, so nothing is lost by a resume.",
    explained_by=(
        "shards/stale",
        "shards/damaged",
        "shards/incomplete",
        "weights/unchanged",
        "steps/directory-mismatch",
    ),
)
def copied_metadata(
    checkpoint: Checkpoint, shards: "tuple[ShardedState, ...]", scan: Mapping[str, FileScan]
) -> Iterator[Violation]:
    """The metadata of a sharded state is that of an older checkpoint's save.

    torch 2.13 writes another ``save_id`` into ``.metadata`` at each save
    (``torch.distributed.checkpoint.filesystem.FileSystemWriter.reset``), so no two are the same byte for byte. A copy
    loads if both saves divided the tensors in the same way, and then loads what was saved. Older versions of torch
    wrote no id; their metadata is not compared.
    """
    if not any(state.metadata.save_id for state in shards):
        raise NotApplicable("no metadata names its save")
    for path, save_id in (
        (path, state.metadata.save_id if path == state.tables[0] else "")
        for state in shards
        if state.metadata.save_id
        for path in state.tables
    ):
        if not was_read(scan, path):
            continue
        if older := checkpoint.with_same_bytes(path, older=True):
            yield Violation(
                f"{path} is of another save, that of {older[-1].name}",
                file=path,
                expected="an id of its own",
                actual=save_id or None,
            )
