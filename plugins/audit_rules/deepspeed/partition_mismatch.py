"""deepspeed/partition-mismatch."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, Severity, Violation, rule

if TYPE_CHECKING:
    from audit.plugin import ZeroPartition, ZeroState


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint. Partitions belong to the ranks that saved them; they cannot be exchanged, and "
    "ZeRO does not load those of another number of processes.",
    explained_by=("files/missing-shard", "files/missing-weights", "deepspeed/latest", "integrity/archive"),
)
def partition_mismatch(checkpoint: Checkpoint, zero: "ZeroState") -> Iterator[Violation]:
    """The partitions of ZeRO do not add up to the model, or are not those of their ranks.

    Each rank loads the file with its number and takes what is in it for its slice of the flat weights. DeepSpeed 0.19
    checks the number of ranks only; a slice of another length crashes or is taken silently, and two exchanged files are
    taken silently.

    ``dp_world_size`` of the engine, the number of files and the ``partition_count`` in each must agree. The slices of a
    group have one length on all ranks, and without padding they are the parameters of that group. Under ZeRO 1 and 2
    each file lists the parameters in its slice: in the order of the ranks these are the parameters in their order.
    Under ZeRO 3 nothing in a file says which rank it belongs to, so an exchange shows only against a seal.
    """
    engine = next(iter(zero.engines.values()))
    world = engine.dp_world_size
    ranks = sorted(zero.partitions)
    parts = [zero.partitions[rank] for rank in ranks]
    if ranks != list(range(world)):
        more = f"{len(ranks)} partitions, of ranks {_short(ranks)}"
        yield Violation(
            f"{zero.tag} has {more}, but {world} processes saved it", file=zero.paths[ranks[0]], expected=world
        )
        return
    for rank, part in zip(ranks, parts, strict=True):
        if any(count != world for count in part.counts):
            wrong = next(count for count in part.counts if count != world)
            yield Violation(
                f"{zero.paths[rank]} is one of {wrong} partitions, but {world} processes saved the others",
                file=zero.paths[rank],
                expected=world,
                actual=wrong,
            )
            return
        if part.lengths != parts[0].lengths:
            yield Violation(
                f"{zero.paths[rank]} has slices of {_short(part.lengths)} numbers, {zero.paths[ranks[0]]} of "
                f"{_short(parts[0].lengths)}",
                file=zero.paths[rank],
            )
            return
    shapes = engine.shapes
    if shapes is None or parts[0].slices is None or len(shapes) != len(parts[0].lengths):
        return
    for group, expected in enumerate(shapes):
        size = sum(prod(shape) for shape in expected.values())
        total = sum(part.lengths[group] - (part.paddings[group] if part.paddings else 0) for part in parts)
        if total != size and all(part.paddings for part in parts):
            yield Violation(
                f"the partitions of group {group} have {total} numbers, but its parameters {size}",
                file=zero.paths[ranks[0]],
                expected=size,
                actual=total,
            )
            return
        place = _out_of_order(parts, group, expected)
        if place is not None:
            yield Violation(
                f"{zero.paths[ranks[place]]} holds the slice of another rank: its parameters do not follow those of the "
                "rank before",
                file=zero.paths[ranks[place]],
            )
            return


def _out_of_order(parts: "Sequence[ZeroPartition]", group: int, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Return the first rank whose parameters are not in their place, None if all are or the lists do not say.

    They say it if they name each parameter with all of its numbers.
    """
    slices = [part.slices[group] for part in parts if part.slices is not None and group < len(part.slices)]
    if len(slices) != len(parts):
        return None
    sizes: dict[str, int] = {}
    for names in slices:
        for name, size in names.items():
            sizes[name] = sizes.get(name, 0) + size
    if sizes != {name: prod(shape) for name, shape in shapes.items()}:
        return None
    order = {name: place for place, name in enumerate(shapes)}
    last = -1
    for rank, names in enumerate(slices):
        for name in names:
            if order[name] < last:
                return rank
            last = order[name]
    return None


def _short(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:4])) + (", ..." if len(values) > 4 else "")
