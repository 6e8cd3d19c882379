"""What the rules about sharded weights share: names of shards, and the files that an index names."""

import re

from audit.facts.checkpoint import Checkpoint

_SHARD = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})(\.safetensors|\.bin)", re.ASCII)


def group(name: str) -> tuple[str, int, str] | None:
    """Return (stem, number of shards, extension) of a shard's name, or None for another file."""
    found = _SHARD.fullmatch(name)
    return (found[1], int(found[3]), found[4]) if found else None


def weight_map(checkpoint: Checkpoint, index: str) -> dict[str, str]:
    """Return the index's map from tensor to file. Raises NotApplicable where the index could not be read."""
    document = checkpoint.file(index, "shard index").value
    found = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(found, dict):
        return {}
    return {name: file for name, file in found.items() if isinstance(file, str)}


def indexed_files(checkpoint: Checkpoint, index: str) -> set[str]:
    """Return the plain file names in the index; paths that lead elsewhere are security/escaping-path."""
    return {file for file in weight_map(checkpoint, index).values() if "/" not in file and file not in ("", "..", ".")}
