"""shards/stale."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, FileScan, NotApplicable, Severity, Violation, rule
from audit_rules._scans import was_read

if TYPE_CHECKING:
    from audit.plugin import ShardedState


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from that older checkpoint; one rank's part of another step cannot be mended.",
    explained_by=("steps/directory-mismatch", "weights/unchanged"),
)
def stale(
    checkpoint: Checkpoint, shards: "tuple[ShardedState, ...]", scan: Mapping[str, FileScan]
) -> Iterator[Violation]:
    """A shard is byte for byte that of the checkpoint before, while others changed.

    A part of each tensor, or the whole optimizer, is then of another step. torch loads such files without a message:
    names and shapes are the same at every step. Only shards that hold a parameter which the optimizer updates are
    compared; if none changed at all, nothing was trained, which is another rule's finding.
    """
    previous = checkpoint.optional("previous")
    if previous is None or previous.step >= checkpoint.step:
        raise NotApplicable("there is no earlier checkpoint of this lineage")
    before = previous.optional("scan") or {}
    trained = _trained(shards)
    found: list[tuple[bool, list[str], list[str]]] = []
    for state in shards:
        same: list[str] = []
        changed: list[str] = []
        for path, sections in state.sections.items():
            if not was_read(scan, path) or not was_read(before, path):
                continue
            if any(_parameter(section.item.name) in trained for section in sections if section.ref is not None):
                (same if scan[path].digest == before[path].digest else changed).append(path)
        found.append((any(name.startswith("optimizer.") for name in state.metadata.entries), same, changed))
    for optimizer, same, changed in found:
        # Moments change with every update, weights not at rate 0: one rank's are compared with those of the others.
        if same and (changed or (optimizer and any(others for _, _, others in found))):
            yield Violation(f"{same[0]} is byte for byte that of {previous.name}", file=same[0], actual=previous.name)


def _trained(shards: "tuple[ShardedState, ...]") -> frozenset[str]:
    """The parameters that have a state in the optimizer."""
    names = (name for state in shards for name in state.metadata.entries)
    return frozenset(_parameter(name) for name in names if name.startswith("optimizer.state."))


def _parameter(name: str) -> str:
    if name.startswith("optimizer.state."):
        return name.removeprefix("optimizer.state.").rpartition(".")[0]
    return name.removeprefix("model.") if name.startswith("model.") else name
