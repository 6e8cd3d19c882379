"""What the rules about sharded weights share: names of shards, and the files that an index names."""

import re

from audit.plugin import Checkpoint, Damage, ShardIndex, read_shard_index

_SHARD = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})(\.safetensors|\.bin)", re.ASCII)


def group(name: str) -> tuple[str, int, str] | None:
    """Return (stem, number of shards, extension) of a shard's name, or None for another file."""
    found = _SHARD.fullmatch(name)
    return (found[1], int(found[3]), found[4]) if found else None


def shard_index(checkpoint: Checkpoint, index: str) -> ShardIndex | Damage:
    """Return the index of sharded weights. Raises NotApplicable if its file could not be read."""
    return read_shard_index(checkpoint.file(index, "shard index").value)


def indexed_files(checkpoint: Checkpoint, index: str) -> set[str]:
    """Return the plain file names in the index; paths that lead elsewhere are security/escaping-path."""
    found = shard_index(checkpoint, index)
    files = () if isinstance(found, Damage) else found.weight_map.values()
    return {file for file in files if "/" not in file and file not in ("", "..", ".")}
