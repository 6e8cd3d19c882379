"""deepspeed/emptied-partition."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, FileScan, NotApplicable, Severity, Violation, rule
from audit_rules._scans import was_read
from audit_rules._updates import OVERFLOWS

if TYPE_CHECKING:
    from audit.plugin import SpanScan, ZeroPartition, ZeroState

FIRST, SECOND = "exp_avg", "exp_avg_sq"


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint; a partition cannot be rebuilt from the others.",
    explained_by=(
        "integrity/archive",
        "deepspeed/stale-partition",
        "deepspeed/step-mismatch",
        "optimizer/not-finite",
        "optimizer/fresh",
    ),
)
def emptied_partition(
    checkpoint: Checkpoint, zero: "ZeroState", scan: Mapping[str, FileScan], global_step: int
) -> Iterator[Violation]:
    """A rank's slice of the weights or moments is nothing but zeros.

    DeepSpeed loads such a file without a message. Adam's two moments are averages of a gradient and of its square:
    where one of them has a value, the other has one too, and the weights moved. A slice that is all zero in both
    moments is reported if the rank had values there in the checkpoint before: parameters may go without a gradient. If
    the moments of all ranks are zero, that is optimizer/fresh.

    Not checked: the first steps, in which weights may still be their initial zeros.
    """
    if global_step <= 1:
        raise NotApplicable("one step leaves no more state than this")
    looked = False
    for rank, part in enumerate(zero.ranks):
        path = zero.paths[rank]
        if not was_read(scan, path):
            continue
        looked = True
        spans = scan[path].spans
        before = _before(checkpoint, zero, rank)
        for group in range(len(part.lengths)):
            problem = _problem(part, group, spans, before, updated=max(part.steps, default=0) > OVERFLOWS)
            if problem is not None:
                yield Violation(f"{path}: {problem}", file=path)
                break
    if not looked:
        raise NotApplicable("no partition could be read completely")


Spans = Mapping[str, "SpanScan"]


def _before(checkpoint: Checkpoint, zero: "ZeroState", rank: int) -> "tuple[ZeroPartition, Spans] | None":
    """The same rank's partition of the checkpoint before and its scan, None if it is not of the same form."""
    previous = checkpoint.optional("previous")
    old = previous.optional("zero") if previous is not None else None
    scan = previous.optional("scan") if previous is not None else None
    if old is None or scan is None or len(old.ranks) != len(zero.ranks) or not was_read(scan, old.paths[rank]):
        return None
    if old.ranks[rank].lengths != zero.ranks[rank].lengths:
        return None
    return old.ranks[rank], scan[old.paths[rank]].spans


def _problem(
    part: "ZeroPartition",
    group: int,
    spans: Spans,
    before: "tuple[ZeroPartition, Spans] | None",
    *,
    updated: bool,
) -> str | None:
    first, second = _moment(part, group, FIRST, spans), _moment(part, group, SECOND, spans)
    if first is None or second is None:
        return None
    if first.all_zero != second.all_zero:
        which = FIRST if first.all_zero else SECOND
        return f"all {which} of group {group} are zero, and the other moments are not"
    weights = spans.get(part.weights[group]) if group < len(part.weights) else None
    weights_gone = weights is not None and weights.complete and weights.all_zero
    if weights_gone and not first.all_zero and (updated or _had(before, group, None)):
        return f"all weights of group {group} are zero, though they were trained"
    if first.all_zero and _had(before, group, SECOND):
        return f"all moments of group {group} are zero, and were not in the checkpoint before"
    return None


def _moment(part: "ZeroPartition", group: int, key: str, spans: Spans) -> "SpanScan | None":
    name = part.moments[group].get(key) if group < len(part.moments) else None
    found = spans.get(name) if name is not None else None
    return found if found is not None and found.complete else None


def _had(before: "tuple[ZeroPartition, Spans] | None", group: int, key: str | None) -> bool:
    """Whether the rank had values there: in its weights, or in the moment ``key``."""
    if before is None:
        return False
    part, spans = before
    found = _moment(part, group, key, spans) if key else spans.get(part.weights[group])
    return found is not None and found.complete and not found.all_zero
