"""The optimizers that ZeRO divides: the state of each rank, and all of them put together to one.

The inner optimizer sees one flat parameter for each group, of which a rank has a slice; under ZeRO 3 one for each
sub-group (``sub_group_size``) of a group.
"""

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.errors import NotApplicable
from audit.facts.file import File
from audit.facts.zero import ZeroState
from audit.formats.damage import Damage
from audit.formats.pickle_values import TensorRef

if TYPE_CHECKING:
    from audit.formats.optimizer import OptimizerState


class RankOptimizer(NamedTuple):
    """What one rank's inner optimizer keeps: ``groups`` as saved, ``state`` by the number of the flat parameter.

    Tensors of one element in the groups (a learning rate) are numbers here; all others are TensorRefs. ``weights`` are
    the flat parameters. ``crcs``: the CRC of each storage as the file has it, integrity/archive compares it; nothing
    where torch was told to compute none.
    """

    path: str
    groups: tuple[Mapping[str, Any], ...]
    state: Mapping[int, Mapping[str, Any]]
    scalars: Mapping[TensorRef, float | int]
    weights: tuple[TensorRef, ...] = ()
    crcs: Mapping[str, int] = {}


def rank_optimizers_in(zero: ZeroState, files: Mapping[str, File]) -> tuple[RankOptimizer, ...]:
    """Return the inner optimizer of each rank. Nothing is read but the files' pickles.

    Raises NotApplicable if a rank's partition is not there, or a state is of another shape than an optimizer's.
    """
    if not zero.ranks:
        raise NotApplicable(f"{zero.tag}: a rank's partition is not there")
    return tuple(_rank(zero.paths[rank], files) for rank in range(len(zero.ranks)))


def _rank(path: str, files: Mapping[str, File]) -> RankOptimizer:
    from audit.formats.zero import flat_in, inner_in

    archive = files[path].archive
    inner = inner_in(archive)
    groups, state = inner.get("param_groups"), inner.get("state")
    if type(groups) is not list or type(state) is not dict or any(type(group) is not dict for group in groups):
        raise NotApplicable(f"{path}: the state of the inner optimizer is not known")
    if any(type(number) is not int or type(entry) is not dict for number, entry in state.items()):
        raise NotApplicable(f"{path}: the inner optimizer's state is not by number")
    plain = tuple(
        {str(key): archive.scalars.get(item, item) if type(item) is TensorRef else item for key, item in group.items()}
        for group in groups
    )
    entries = {number: {str(key): item for key, item in entry.items()} for number, entry in state.items()}
    weights = flat_in(archive)
    refs = [*weights, *(item for entry in entries.values() for item in entry.values() if type(item) is TensorRef)]
    records = {ref.storage: archive.records.get(f"data/{ref.storage}") for ref in refs if archive.crc_written}
    crcs = {storage: record.crc for storage, record in records.items() if record is not None}
    return RankOptimizer(path, plain, entries, archive.scalars, weights, crcs)


def optimizer_in_ranks(zero: ZeroState, ranks: tuple[RankOptimizer, ...]) -> "OptimizerState":
    """Return the optimizer as one: a flat parameter for each group, whose moments are in the files of all ranks.

    Its shape does not depend on the number of ranks. Values that all ranks have are those of the first. Raises
    NotApplicable if the ranks have states of different forms, which deepspeed/ranks-disagree reports.
    """
    from audit.formats.optimizer import optimizer_in
    from audit.formats.torch_archive import put_together

    first = ranks[0]
    if any(_form(rank) != _form(first) for rank in ranks[1:]):
        raise NotApplicable(f"{zero.tag}: the optimizers of the ranks are not alike")
    groups: list[dict[str, Any]] = []
    state: dict[int, dict[str, Any]] = {}
    places: dict[str, tuple[tuple[str, str], ...]] = {}
    trained = 0
    for group in first.groups:
        flat = group.get("params")
        if type(flat) is not list or any(type(number) is not int for number in flat):
            raise NotApplicable(f"{first.path}: a group has no list of parameters")
        groups.append({**group, "params": [trained] if flat else []})
        if not flat:
            continue
        entry = _together(zero, ranks, flat, trained, places)
        if entry:
            state[trained] = entry
        trained += 1
    known = {number for group in first.groups for number in group["params"]}
    for number in first.state.keys() - known:  # as it is in the file, for optimizer/parameter-mismatch
        state.setdefault(max(trained, number), dict(first.state[number]))
    found = optimizer_in(put_together({"state": state, "param_groups": groups}, first.scalars))
    if isinstance(found, Damage):
        raise NotApplicable(f"{zero.tag} {found.message}")
    return found._replace(places=places)


def _form(rank: RankOptimizer) -> object:
    return [group.get("params") for group in rank.groups], {number: set(keys) for number, keys in rank.state.items()}


def _together(
    zero: ZeroState,
    ranks: tuple[RankOptimizer, ...],
    flat: list[int],
    name: int,
    places: dict[str, tuple[tuple[str, str], ...]],
) -> dict[str, Any]:
    """The state of the flat parameters of one group; ``places`` gets where the parts of its tensors are."""
    shapes = zero.engine.shapes or ()
    whole = sum(prod(shape) for number in flat if number < len(shapes) for shape in shapes[number].values())
    entry: dict[str, Any] = {}
    for key, value in ranks[0].state.get(flat[0], {}).items():
        parts = [(rank.path, rank.state.get(number, {}).get(key)) for rank in ranks for number in flat]
        refs = [(path, ref) for path, ref in parts if type(ref) is TensorRef]
        if key == "step" or type(value) is not TensorRef:
            entry[key] = value
            continue
        if len(refs) != len(parts):
            continue  # a part of it is missing, so all of it is
        storage = f"{key} of group {name}"
        size = whole or sum(ref.elements for _, ref in refs)
        entry[key] = TensorRef(value.dtype, (size,), (1,), storage, 0, size)
        places[storage] = tuple((path, f"data/{ref.storage}") for path, ref in refs)
    return entry
