"""shards/stale."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, FileScan, NotApplicable, Severity, Violation, rule
from audit_rules._neighbours import older
from audit_rules._scans import was_read
from audit_rules._updates import overwritten

if TYPE_CHECKING:
    from audit.plugin import OptimizerState, ShardedState


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from that older checkpoint; a rank's part of another step cannot be repaired.",
    explained_by=("steps/directory-mismatch",),
)
def stale(
    checkpoint: Checkpoint, shards: "tuple[ShardedState, ...]", scan: Mapping[str, FileScan]
) -> Iterator[Violation]:
    """A shard is byte for byte that of an older checkpoint, while others changed.

    A part of each tensor, or the whole optimizer, is then of another step. torch loads such files without a message:
    names and shapes are the same at every step. Only shards that hold a parameter which the optimizer updates are
    compared; if none changed at all, nothing was trained, which is another rule's finding.
    """
    if not any(before.optional("scan") for before in older(checkpoint)):
        raise NotApplicable("no older checkpoint was read")
    optimizer: OptimizerState | None = checkpoint.optional("optimizer")
    trained = frozenset(map(str, optimizer.state)) if optimizer is not None else frozenset()
    moments = optimizer.places if optimizer is not None else {}
    found: list[tuple[bool, dict[str, str], list[str]]] = []
    for state in shards:
        same: dict[str, str] = {}
        changed: list[str] = []
        for path, sections in state.sections.items():
            names = {section.item.name for section in sections if section.ref is not None}
            if not was_read(scan, path) or not any(_updated(name, trained, moments) for name in names):
                continue
            alike = [item for item in checkpoint.with_same_bytes(path, older=True) if not overwritten(item)]
            if alike:
                same[path] = alike[-1].name
            else:
                changed.append(path)
        found.append((any(name in moments for name in state.metadata.entries), same, changed))
    for of_optimizer, same, changed in found:
        # Moments change with every update, weights not at rate 0: one rank's are compared with those of the others.
        if same and (changed or (of_optimizer and any(others for _, _, others in found))):
            path, name = next(iter(same.items()))
            yield Violation(f"{path} is byte for byte that of {name}", file=path, actual=name)


def _updated(name: str, trained: frozenset[str], moments: Mapping[str, object]) -> bool:
    """Whether every update changes a tensor: it is of the optimizer, or of a parameter that has a state there."""
    return name in moments or name in trained or name.removeprefix("model.") in trained
