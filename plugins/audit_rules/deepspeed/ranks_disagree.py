"""deepspeed/ranks-disagree."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from audit.plugin import Checkpoint, NotApplicable, Severity, Violation, rule
from audit_rules._more import and_more

if TYPE_CHECKING:
    from audit.plugin import RankOptimizer

_PLAIN = (bool, int, float, str)


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint; the ranks would make different updates, or one of them would crash.",
    explained_by=(
        "files/missing-shard",
        "deepspeed/latest",
        "deepspeed/stale-partition",
        "deepspeed/step-mismatch",
        "integrity/archive",
    ),
)
def ranks_disagree(checkpoint: Checkpoint, rank_optimizers: "tuple[RankOptimizer, ...]") -> Iterator[Violation]:
    """The optimizers of the ranks differ in their settings, their groups or in what they keep.

    Each rank updates its slice of the weights with the optimizer in its own file, and DeepSpeed 0.19 compares nothing
    between them. A learning rate, betas or a weight decay of its own on one rank trains its slice in another way,
    without a message. A rank that lacks its state, or one of Adam's moments, starts anew there, or crashes while the
    others wait for it.

    All ranks run the same program, so groups, their values and the names in the state are the same.
    """
    if len(rank_optimizers) < 2:
        raise NotApplicable("there is one rank only")
    usual = _usual(rank_optimizers)
    for rank in rank_optimizers:
        found = _unlike(rank, usual)
        if found:
            what, own, others = found[0]
            more = and_more(found, ", and {} more differ")
            yield Violation(
                f"{rank.path}: {what} is {own}, but {others} in {usual.path}{more}",
                file=rank.path,
                expected=others,
                actual=own,
            )
            return


def _usual(ranks: "Sequence[RankOptimizer]") -> "RankOptimizer":
    """The first of those that most ranks are like; of two that differ, the one that keeps more."""
    looks = [str(sorted(_values(rank).items())) for rank in ranks]
    often = Counter(looks)
    return max(zip(looks, ranks, strict=True), key=lambda item: (often[item[0]], len(_values(item[1]))))[1]


def _unlike(rank: "RankOptimizer", usual: "RankOptimizer") -> list[tuple[str, str, str]]:
    """What differs: its name, and how it is here and in the other rank."""
    own, others = _values(rank), _values(usual)
    names = [*others, *(name for name in own if name not in others)]
    return [
        (name, own.get(name, "not there"), others.get(name, "not there"))
        for name in names
        if own.get(name) != others.get(name)
    ]


def _values(rank: "RankOptimizer") -> dict[str, str]:
    """What must be the same on all ranks, by its name; tensors are only there or not."""
    found = {"number of groups": str(len(rank.groups))}
    for number in sorted(rank.state):
        found.update({f"{key} of parameter {number}": "there" for key in rank.state[number]})
    for position, group in enumerate(rank.groups):
        found.update({f"{key} of group {position}": str(value) for key, value in group.items() if _plain(value)})
    return found


def _plain(value: Any) -> bool:
    return all(map(_plain, value)) if isinstance(value, tuple | list) else isinstance(value, _PLAIN)
