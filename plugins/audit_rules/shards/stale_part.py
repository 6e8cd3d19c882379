"""shards/stale-part."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, FileScan, NotApplicable, Severity, Violation, rule
from audit_rules._neighbours import older
from audit_rules._scans import was_read
from audit_rules._updates import OVERFLOWS, overwritten, updates
from audit_rules.optimizer._shared import place_of

if TYPE_CHECKING:
    from audit.plugin import OptimizerState, Print, Prints

WEIGHTS = "weights"
ALL = ""
NEAREST = 3
"""Older checkpoints that are compared."""

MOVES = 1e-8
"""A learning rate at which some weight moves."""

SEVERAL = 3
"""Parameters. Fewer may be embeddings, whose rows in one rank no example may have."""


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from that older checkpoint; a part of another step cannot be repaired.",
    explained_by=(
        "shards/stale",
        "shards/damaged",
        "shards/incomplete",
        "weights/unchanged",
        "optimizer/emptied-moments",
        "optimizer/fresh",
        "steps/directory-mismatch",
    ),
)
def stale_part(
    checkpoint: Checkpoint, prints: "Prints", optimizer: "OptimizerState", scan: Mapping[str, FileScan]
) -> Iterator[Violation]:
    """All weights, or one of the moments, of the state or of one rank are those of an older checkpoint.

    ``dcp.save`` writes weights and optimizer of a script into the same files, so a file that is partly of another step
    is not equal to any other as a whole (shards/stale). Compared are the CRCs of the items: those of the trained
    weights, and those of the optimizer's tensors, in the three checkpoints before. torch loads such a state without a
    message.

    Moments change with every update unless they are zero, weights at a learning rate above 0. One rank alone counts
    only in single precision, and its weights if it has parts of several parameters.
    """
    nearest = [item for item in islice(older(checkpoint), NEAREST) if not overwritten(item)]
    known = [(item, found) for item in nearest if (found := item.optional("prints"))]
    if not known:
        raise NotApplicable("no older checkpoint was read")
    place = place_of(checkpoint.layout)
    for before, old in known:
        for (what, rank), own in prints.items():
            if old.get((what, rank)) != own:
                continue
            if _must_differ(checkpoint, before, what, rank, prints, old, optimizer, scan):
                whose = f"of process {rank.rpartition('/')[2]}" if rank else f"of all {own.parameters} parameters"
                yield Violation(
                    f"{place}: the {what} {whose} are byte for byte those of {before.name}",
                    file=place,
                    actual=before.name,
                )
                return


def _must_differ(
    checkpoint: Checkpoint,
    before: Checkpoint,
    what: str,
    rank: str,
    prints: "Prints",
    old: "Prints",
    optimizer: "OptimizerState",
    scan: Mapping[str, FileScan],
) -> bool:
    """Whether something was trained in between that cannot have left this part as it was."""
    own = prints[what, rank]
    if rank and not own.single:
        return False  # rounding may leave the few values of one rank as they were
    if what != WEIGHTS:
        trained = _counted(checkpoint, before) or _changed(prints, old, WEIGHTS, ALL)
        return trained and not _zero(optimizer, what, rank, scan)
    moments = {key for key, place in prints if key != WEIGHTS and place == rank}
    if not _learned(before) or not any(_changed(prints, old, key, rank) for key in moments):
        return False
    return not rank or (own.parameters >= SEVERAL and _changed(prints, old, WEIGHTS, ALL))


def _changed(prints: "Prints", old: "Prints", what: str, rank: str) -> bool:
    mine: Print | None = prints.get((what, rank))
    other: Print | None = old.get((what, rank))
    return mine is not None and other is not None and mine.digest != other.digest


def _counted(checkpoint: Checkpoint, before: Checkpoint) -> bool:
    """Whether updates were made since: by the count, or by more steps than a gradient scaler skips."""
    now, then = updates(checkpoint), updates(before)
    if now is not None and then is not None:
        return now > then
    return checkpoint.step - before.step > OVERFLOWS


def _zero(optimizer: "OptimizerState", key: str, rank: str, scan: Mapping[str, FileScan]) -> bool:
    """Whether a moment is zero in all parameters of a rank, as without a gradient."""
    found = [
        part
        for name, places in optimizer.places.items()
        if name.endswith(f".{key}")
        for path, span in places
        if was_read(scan, path) and _of(path, rank) and (part := scan[path].spans.get(span)) is not None
    ]
    return all(part.all_zero for part in found)


def _of(path: str, rank: str) -> bool:
    """Whether a rank wrote the file."""
    number = rank.rpartition("/")[2]
    return not rank or path.rpartition("/")[2].startswith(f"__{number}_") or path.endswith(number)


def _learned(before: Checkpoint) -> bool:
    """Whether the update after a checkpoint had a learning rate above 0 in every group."""
    optimizer: OptimizerState | None = before.optional("optimizer")
    rates = [group.get("lr") for group in optimizer.groups if group["params"]] if optimizer is not None else []
    return bool(rates) and all(isinstance(rate, int | float) and rate >= MOVES for rate in rates)
