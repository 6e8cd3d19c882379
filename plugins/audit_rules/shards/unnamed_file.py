"""shards/unnamed-file."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, Severity, Violation, rule
from audit_rules._more import and_more

if TYPE_CHECKING:
    from audit.plugin import ShardedState

_SHARD = re.compile(r"__[0-9]{1,6}_[0-9]{1,6}\.distcp", re.ASCII)


@rule(
    Severity.INFO,
    remedy="Delete it if the disk is needed: no resume reads it.",
    explained_by=("shards/incomplete", "shards/damaged", "shards/stale"),
)
def unnamed_file(checkpoint: Checkpoint, shards: "tuple[ShardedState, ...]") -> Iterator[Violation]:
    """A shard file is in no table: a save of more processes was left in the directory that a later one wrote into.

    torch 2.13, ``torch.distributed.checkpoint``, opens the files that ``.metadata`` names and deletes none
    (``overwrite=True`` is the default), so shards of ranks that no longer exist stay.
    """
    for state in shards:
        named = {item.file for item in state.metadata.items}
        before = f"{state.directory}/" if state.directory else ""
        unnamed = sorted(
            path
            for path in checkpoint.files
            if path.startswith(before) and _SHARD.fullmatch(name := path[len(before) :]) and name not in named
        )
        if unnamed:
            more = and_more(unnamed, " and {} more")
            verb = "are" if more else "is"
            yield Violation(
                f"{unnamed[0]}{more} {verb} not named by the metadata, so nothing reads it", file=unnamed[0]
            )
