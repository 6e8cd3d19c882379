"""The tensors of sharded states, put together: which chunks each has and where they are, and the optimizer's state.

Nothing here reads a file: everything is taken from what :mod:`audit.facts.shards` read.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.backend.layout import Layout
from audit.errors import NotApplicable
from audit.facts.shards import ShardedState, span_name
from audit.formats.damage import Damage
from audit.formats.dcp import Saved
from audit.formats.pickle_values import ITEM_SIZES, TensorRef, plain_strides
from audit.formats.tensors import Tensor

if TYPE_CHECKING:
    from audit.formats.optimizer import OptimizerState

GROUPS, STATE = "param_groups.", "state."


class Part(NamedTuple):
    """A chunk of a tensor: ``path`` of its file, ``span`` by which the scan of that file has it, ``offsets`` of it.

    ``tensor`` has the name of the whole one, the shape of the chunk and its place in the file. ``dense``: its elements
    are stored one after the other, in the order of their indices and little-endian.
    """

    path: str
    span: str
    offsets: tuple[int, ...]
    tensor: Tensor
    dense: bool


class WholeTensor(NamedTuple):
    """A tensor that is stored in ``parts``; ``shape`` is the one that a resume loads, whatever the world size."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]


def weights_in(states: Iterable[ShardedState], layout: Layout) -> dict[str, WholeTensor]:
    """Return the tensors of the sharded weights by name; an optimizer's in the same directory are left out."""
    found: dict[str, WholeTensor] = {}
    for state in states:
        if not _plays(state, layout.sharded_weights):
            continue
        found |= _whole(state, _weights_beside(state) if _plays(state, layout.sharded_optimizer) else _all(state))
    if not found:
        raise NotApplicable("there are no sharded weights")
    return found


def optimizer_in_shards(states: Iterable[ShardedState], layout: Layout) -> "OptimizerState":
    """Return the optimizer's state: parameters by name, tensors in the shape that they have as a whole.

    ``places`` of the result say where the elements are. Raises NotApplicable if there is none.
    """
    from audit.formats.optimizer import optimizer_in
    from audit.formats.torch_archive import put_together

    state, collected = _collected(states, layout)
    refs = tuple(collected.scalars)
    value = {"state": collected.state, "param_groups": collected.groups()}
    names = tuple(sorted({name for parts in state.sections.values() for part in parts for name in part.names}))
    found = optimizer_in(put_together(value, collected.scalars, names, refs))
    if isinstance(found, Damage):
        raise NotApplicable(f"{state.directory} {found.message}")
    return found._replace(places=collected.places)


class OptimizerParts(NamedTuple):
    """A sharded optimizer's ``state`` by parameter and key, tensors or other values, and its ``groups`` in order."""

    state: Mapping[str, Mapping[str, "WholeTensor | Any"]]
    groups: tuple[Mapping[str, Any], ...]


def optimizer_parts_in(states: Iterable[ShardedState], layout: Layout) -> OptimizerParts:
    """Return the optimizer's state with the places of its tensors. Raises NotApplicable if there is none."""
    _, found = _collected(states, layout)
    state = {
        name: {
            key: found.whole.get(value.storage, value) if type(value) is TensorRef else value
            for key, value in entry.items()
        }
        for name, entry in found.state.items()
    }
    return OptimizerParts(state, tuple(found.groups()))


def _collected(states: Iterable[ShardedState], layout: Layout) -> "tuple[ShardedState, _Collected]":
    """The state with the optimizer, and what it holds. Raises NotApplicable if there is none, or not one alone."""
    for state in states:
        if not _plays(state, layout.sharded_optimizer):
            continue
        tops = state.optimizers
        if not tops:
            continue
        if len(tops) > 1:
            raise NotApplicable(f"there are the states of {len(tops)} optimizers, which are not read")
        if f"{tops[0]}{GROUPS.rstrip('.')}" in state.metadata.entries:
            raise NotApplicable(
                "the parameter groups are one value, as optimizer.state_dict() has it, which is not read"
            )
        return state, _Collected(state, tops[0])
    raise NotApplicable("there is no sharded optimizer state")


class _Collected:
    """An optimizer's state as its parts are met: ``state`` by parameter and key, groups by number or parameter."""

    def __init__(self, state: ShardedState, top: str) -> None:
        self.state: dict[Any, dict[Any, Any]] = {}
        self.scalars: dict[TensorRef, float | int] = {}
        self.places: dict[str, tuple[tuple[str, str], ...]] = {}
        self._groups: dict[str, dict[str, Any]] = {}
        read = {part.item.name: part for parts in state.sections.values() for part in parts if part.damage is None}
        inside = {name: entry for name, entry in state.metadata.entries.items() if _of_optimizer(name, top)}
        if lost := inside.keys() - read.keys():
            raise NotApplicable(f"{len(lost)} parts of {state.directory} could not be read")
        self.whole = whole = _whole(state, inside.values())
        for name in inside:
            section = read.get(name)
            rest = name.removeprefix(top)
            if not rest.startswith(STATE) and section is not None and section.ref is None:
                number, _, key = rest.removeprefix(GROUPS).rpartition(".")
                self._groups.setdefault(number, {})[key] = section.value
        known = {str(name) for group in self.groups() for name in _listed(group)}
        for name, entry in inside.items():
            section = read.get(name)
            rest = name.removeprefix(top)
            if rest.startswith(STATE):
                parameter, key = _parameter_and_key(rest.removeprefix(STATE), known)
                kept = self.state.setdefault(parameter, {})
                if entry.dtype is not None:
                    ref = TensorRef(entry.dtype, entry.size, plain_strides(entry.size), name, 0, prod(entry.size))
                    kept[key] = ref
                    ordered = sorted(whole[name].parts, key=lambda part: part.offsets)
                    self.places[name] = tuple((part.path, part.span) for part in ordered)
                    if section is not None and section.scalar is not None and ref.elements == 1:
                        self.scalars[ref] = section.scalar
                elif section is not None:
                    kept[key] = section.value

    def groups(self) -> list[dict[str, Any]]:
        """The parameter groups in their order; flattened ones (a group for each parameter) by what they have in common.

        Source of the flattened form: torch 2.13, ``StateDictOptions(flatten_optimizer_state_dict=True)``.
        """
        if all(number.isdecimal() and len(number) < 10 for number in self._groups):
            groups = [self._groups[number] for number in sorted(self._groups, key=int)]
            # Of a state dict as the optimizer makes it: parameters by number, which are text in the names of tensors.
            return [
                {**group, **({"params": [str(name) for name in found]} if (found := _listed(group)) else {})}
                for group in groups
            ]
        alike: dict[str, dict[str, Any]] = {}
        for parameter, values in self._groups.items():
            group = alike.setdefault(repr(sorted(values.items())), {**values, "params": []})
            group["params"].append(parameter)
        return list(alike.values())


def _listed(group: dict[str, Any]) -> list[Any]:
    """The parameters of a group, nothing if they are not a list."""
    found = group.get("params")
    return found if isinstance(found, list) else []


def _parameter_and_key(rest: str, known: set[str]) -> tuple[str, str]:
    """Split ``l.0.weight.exp_avg``; a state may be nested: the longest name of a parameter in ``known`` counts."""
    place = rest.rfind(".")
    usual = rest[:place], rest[place + 1 :]
    while place > 0:
        if rest[:place] in known:
            return rest[:place], rest[place + 1 :]
        place = rest.rfind(".", 0, place)
    return usual


def _all(state: ShardedState) -> list[Saved]:
    return list(state.metadata.entries.values())


def _weights_beside(state: ShardedState) -> list[Saved]:
    """The weights in a state that holds an optimizer, too: what is named like its parameters, below one name.

    Other values are those of the script: a step, the best loss, the position of a data loader.
    """
    entries, marks = state.metadata.entries, [f"{top}{STATE}" for top in state.optimizers]
    parameters = {name[len(mark) :].rpartition(".")[0] for name in entries for mark in marks if name.startswith(mark)}
    own = {
        name: entry for name, entry in entries.items() if not any(_of_optimizer(name, top) for top in state.optimizers)
    }
    prefixes = {prefix for name in own if (prefix := _prefix_of(name, parameters)) is not None}
    if not prefixes:  # the optimizer numbers its parameters: all but single numbers may be weights
        return [entry for entry in own.values() if entry.size]
    return [entry for name, entry in own.items() if name.startswith(tuple(prefixes))]


def _prefix_of(name: str, parameters: set[str]) -> str | None:
    """What is before the name of a parameter in the name of a tensor, None if it is not one's."""
    place = 0
    while name[place:] not in parameters:
        place = name.find(".", place) + 1
        if not place:
            return None
    return name[:place]


def _plays(state: ShardedState, role: tuple[str, ...]) -> bool:
    return state.tables[0] in role


def _of_optimizer(name: str, top: str) -> bool:
    return name.startswith((f"{top}{STATE}", f"{top}{GROUPS}")) or name == f"{top}{GROUPS}".rstrip(".")


def _whole(state: ShardedState, entries: Iterable[Saved]) -> dict[str, WholeTensor]:
    found: dict[str, list[Part]] = {entry.name: [] for entry in entries if entry.dtype is not None}
    for name, part in _parts(state):
        if name in found:
            found[name].append(part)
    by_name = state.metadata.entries
    return {
        name: WholeTensor(name, by_name[name].dtype or "", by_name[name].size, tuple(parts))
        for name, parts in found.items()
    }


def _parts(state: ShardedState) -> Iterator[tuple[str, Part]]:
    for path, sections in state.sections.items():
        for section in sections:
            ref, record = section.ref, section.data
            if ref is None or record is None or 0 in ref.shape:
                continue
            size = ITEM_SIZES[ref.dtype]
            nbytes = (ref.extent - ref.offset) * size
            tensor = Tensor(section.item.name, ref.dtype, ref.shape, record.offset + ref.offset * size, nbytes)
            dense = section.little and ref.in_order
            yield tensor.name, Part(path, span_name(section, record.name), section.item.offsets or (), tensor, dense)
