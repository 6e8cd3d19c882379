"""deepspeed/partition-mismatch."""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, prod
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, Severity, TensorRef, Violation, rule

if TYPE_CHECKING:
    from audit.plugin import RankOptimizer, ZeroPartition, ZeroState

Shapes = Mapping[str, tuple[int, ...]]
Places = dict[str, tuple[int, int]]
"""Of each parameter the place in a rank's slice and the number of elements there."""
MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint. Partitions belong to the ranks that saved them; they cannot be exchanged, and "
    "ZeRO does not load those of another number of processes.",
    explained_by=(
        "files/missing-shard",
        "files/missing-weights",
        "deepspeed/latest",
        "deepspeed/stale-partition",
        "integrity/archive",
    ),
)
def partition_mismatch(checkpoint: Checkpoint, zero: "ZeroState") -> Iterator[Violation]:
    """The partitions of ZeRO do not add up to the model, or are not those of their ranks.

    Each rank loads the file with its number and takes what is in it for its slice of the flat weights. DeepSpeed 0.19
    checks the number of ranks only; a slice of another length crashes or is taken silently, and two exchanged files are
    taken silently.

    ``dp_world_size`` of the engine, the number of files and the ``partition_count`` in each must agree; a file of a
    rank beyond them is never loaded. Under ZeRO 1 and 2 the slices of a group have one length on all ranks, the last
    ones less their padding, and together they are the parameters of that group; each file lists the parameters in its
    slice, and these lists follow each other in the order of the parameters. Under ZeRO 3 each rank has an equal part
    of every parameter, and nothing in a file says which rank it belongs to: an exchange shows only against a seal.

    Each moment of Adam has the size of the slice of weights that it belongs to; DeepSpeed pads one that is too short,
    or crashes.
    """
    if zero.doubtful:
        first, second = zero.doubtful[:2]
        yield Violation(f"{first} and {second} are both the partition of one rank, and nothing says which", file=first)
        return
    problem = _world(zero)
    if problem is not None:
        yield problem
        return
    parts, shapes, paths = zero.ranks, zero.engine.shapes, [zero.paths[rank] for rank in range(len(zero.ranks))]
    if any(part.aligned for part in parts):
        return
    if shapes is None:
        yield from _moments(checkpoint, parts)
        return
    if zero.engine.empty:
        size = sum(ceil(prod(shape) / len(parts)) for group in shapes for shape in group.values())
        for path, part in zip(paths, parts, strict=True):
            if sum(part.lengths) != size:
                yield _number(path, sum(part.lengths), size)
                return
    elif all(len(part.lengths) == len(shapes) for part in parts):
        for group, expected in enumerate(shapes):
            found = _lengths(parts, paths, group, expected) or _places(parts, paths, group, expected)
            if found is not None:
                yield found
                return
    yield from _moments(checkpoint, parts)


def _world(zero: "ZeroState") -> Violation | None:
    """Say whether a rank has no partition, or one of another number of ranks."""
    world = zero.engine.dp_world_size
    if not zero.ranks:
        there = sorted(zero.paths)
        which = f"{len(there)} partitions, of ranks {_short(there)}"
        return Violation(
            f"{zero.tag} has {which}, but {world} processes saved it", file=zero.paths[there[0]], expected=world
        )
    for rank, part in enumerate(zero.ranks):
        wrong = next((count for count in part.counts if count != world), None)
        if wrong is not None:
            return Violation(
                f"{zero.paths[rank]} is one of {wrong} partitions, but {world} processes saved the others",
                file=zero.paths[rank],
                expected=world,
                actual=wrong,
            )
    return None


def _moments(checkpoint: Checkpoint, parts: "Sequence[ZeroPartition]") -> Iterator[Violation]:
    """Say which moment has another size than its slice of the weights, with the padding or without it."""
    ranks: tuple[RankOptimizer, ...] = checkpoint.optional("rank_optimizers") or ()
    for rank, part in zip(ranks, parts, strict=False):
        for number, length in enumerate(part.lengths):
            padded = length + (part.paddings[number] if part.paddings else 0)
            for key, moment in rank.state.get(number, {}).items():
                if key in MOMENTS and isinstance(moment, TensorRef) and moment.elements not in (length, padded):
                    yield Violation(
                        f"{rank.path}: the {key} of group {number} has {moment.elements} numbers, its slice of weights "
                        f"{padded}",
                        file=rank.path,
                        expected=padded,
                        actual=moment.elements,
                    )
                    return


def _lengths(parts: "Sequence[ZeroPartition]", paths: Sequence[str], group: int, shapes: Shapes) -> Violation | None:
    """Say whether the slices of a group are too long or too short, with their padding or without it."""
    size = sum(prod(shape) for shape in shapes.values())
    written = [part.lengths[group] for part in parts]
    padding = [part.paddings[group] if part.paddings else 0 for part in parts]
    whole = [length + more for length, more in zip(written, padding, strict=True)]
    if (len(set(whole)) == 1 and sum(written) == size) or (
        len(set(written)) == 1 and (sum(written) - sum(padding) == size or not all(part.paddings for part in parts))
    ):
        return None
    usual = max(set(whole), key=whole.count)
    odd = next((rank for rank, length in enumerate(whole) if length != usual), None)
    if odd is not None:
        other = whole.index(usual)
        return Violation(
            f"{paths[odd]} has a slice of {whole[odd]} numbers, {paths[other]} of {usual}", file=paths[odd]
        )
    return _number(paths[0], sum(written), size, f" of group {group}")


def _number(path: str, actual: int, expected: int, of: str = "") -> Violation:
    return Violation(
        f"{path}: the slices{of} have {actual} numbers, but the parameters {expected}",
        file=path,
        expected=expected,
        actual=actual,
    )


def _places(parts: "Sequence[ZeroPartition]", paths: Sequence[str], group: int, shapes: Shapes) -> Violation | None:
    """Say which file lists other parameters than those of its rank; nothing if the lists are not understood."""
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    listed: list[Places] = []
    for part in parts:
        slices = part.slices[group] if part.slices is not None and group < len(part.slices) else None
        if slices is None or any(name not in sizes or place.size > sizes[name] for name, place in slices.items()):
            return None
        padding = part.paddings[group] if part.paddings else 0
        if sum(place.size for place in slices.values()) not in (part.lengths[group], part.lengths[group] - padding):
            return None
        listed.append({name: (place.start, place.size) for name, place in slices.items()})
    lengths = [part.lengths[group] for part in parts]
    expected = _expected(sizes, max(lengths), len(parts))
    for rank, found in enumerate(listed):
        if found != expected[rank]:
            owner = next((other for other, places in enumerate(expected) if places == found), None)
            whose = "the slice of another rank" if owner is None else f"the slice of rank {owner}"
            return Violation(
                f"{paths[rank]} holds {whose}: its parameters are not those of rank {rank}", file=paths[rank]
            )
    return None


def _expected(sizes: Mapping[str, int], length: int, world: int) -> list[Places]:
    """Where each parameter is if they follow each other in slices of ``length``."""
    found: list[Places] = [{} for _ in range(world)]
    at = 0
    for name, size in sizes.items():
        end = at + size
        for rank in range(at // length, min(world, -(-end // length))) if length else ():
            begin, stop = max(at, rank * length), min(end, (rank + 1) * length)
            if begin < stop:
                found[rank][name] = (begin - rank * length, stop - begin)
        at = end
    return found


def _short(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:4])) + (", ..." if len(values) > 4 else "")
