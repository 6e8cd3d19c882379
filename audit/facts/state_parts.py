"""What one state of ``dcp.save`` is made of: its parts by name, the scheduler in it, and what tells old parts from new.

Nothing here reads a file: everything is taken from what :mod:`audit.facts.shards` read.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.errors import NotApplicable
from audit.facts.shards import ShardedState
from audit.formats.damage import Damage

if TYPE_CHECKING:
    from audit.facts.whole_tensors import WholeTensor
    from audit.formats.optimizer import OptimizerState
    from audit.formats.scheduler import SchedulerState

WEIGHTS = "weights"
FADING = ("exp_avg", "exp_avg_sq", "momentum_buffer", "square_avg")
"""Averages that every update changes, if they are not zero."""

STEPS = ("step", "global_step")
"""What scripts call the step that they are at."""

_POSITION, _COUNT = "last_epoch", "_step_count"
_RANK = re.compile(r"__([0-9]{1,6})_[0-9]{1,6}\.distcp", re.ASCII)
_DEEPEST = 32


def names_in(states: Iterable[ShardedState]) -> frozenset[str]:
    """Return the names of the parts that the states are made of: ``lr_scheduler``, ``app.model``.

    A part is what is beside the optimizer, or above it: what has a state of its own in a script.
    """
    found = set()
    for state in states:
        parents = sorted({_parent(top) for top in state.optimizers} | {""}, key=len, reverse=True)
        for name in state.metadata.entries:
            parent = next(parent for parent in parents if name.startswith(parent))
            part = parent + name[len(parent) :].partition(".")[0]
            found.add(f"{state.directory}/{part}" if state.directory else part)
    return frozenset(found)


def _parent(top: str) -> str:
    """``app.`` of ``app.optim.``."""
    return top[: top.rstrip(".").rfind(".") + 1]


def own_steps_in(states: Iterable[ShardedState]) -> dict[str, int]:
    """Return the steps that a script saved beside its optimizer, by name."""
    found = {}
    for state in states:
        for part in (part for parts in state.sections.values() for part in parts if part.damage is None):
            name = part.item.name
            value = part.value if part.ref is None else part.scalar
            if name.rpartition(".")[2] in STEPS and type(value) is int and not name.startswith(state.optimizers):
                found[name] = value
    return found


def scheduler_in_shards(states: Iterable[ShardedState]) -> "SchedulerState":
    """Return the state of the one learning-rate scheduler in the states. Raises NotApplicable if there is not one."""
    from audit.formats.scheduler import scheduler_in
    from audit.formats.torch_archive import put_together

    found = [(state, top) for state in states for top in _schedulers(state)]
    if len(found) != 1:
        raise NotApplicable(f"there are the states of {len(found)} schedulers in the sharded state")
    state, top = found[0]
    wanted = {name for name in state.metadata.entries if name.startswith(top)}
    if wanted - {part.item.name for parts in state.sections.values() for part in parts if part.damage is None}:
        raise NotApplicable(f"{top.rstrip('.')} could not be read")
    values: dict[str, Any] = {}
    for parts in state.sections.values():
        for part in parts:
            if part.item.name.startswith(top) and part.damage is None:
                value = part.value if part.ref is None else part.scalar
                _put(values, part.item.name.removeprefix(top).split("."), value)
    scheduler = scheduler_in(put_together(_listed(values), {}))
    if isinstance(scheduler, Damage):
        raise NotApplicable(f"{top.rstrip('.')} {scheduler.message}")
    return scheduler


def _schedulers(state: ShardedState) -> list[str]:
    """What the names of each scheduler begin with; one that is in another, as of SequentialLR, is not one by itself."""
    entries = state.metadata.entries
    tops = sorted(
        name.removesuffix(_POSITION)
        for name in entries
        if name.endswith(f".{_POSITION}") and name.removesuffix(_POSITION) + _COUNT in entries
    )
    return [top for top in tops if not any(top != other and top.startswith(other) for other in tops)]


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[: min(len(path), _DEEPEST) - 1]:
        values = values.setdefault(name, {}) if type(values.get(name, {})) is dict else {}
    values[path[-1]] = value


def _listed(value: Any) -> Any:
    """Make lists again of what ``flatten_state_dict`` of torch wrote as ``NAME.0``, ``NAME.1``."""
    if type(value) is not dict:
        return value
    found = {name: _listed(item) for name, item in value.items()}
    numbers = [str(number) for number in range(len(found))]
    return [found[number] for number in numbers] if found and found.keys() == set(numbers) else found


class Print(NamedTuple):
    """A digest of the trained weights, or of one of the moments, of all ranks or of one.

    ``parameters``: how many have a part in it; ``single``: all of it is in single precision or better.
    """

    digest: str
    parameters: int
    single: bool


Prints = Mapping[tuple[str, str], Print]
"""By what they are of (:data:`WEIGHTS`, one of :data:`FADING`) and ``DIRECTORY/RANK``, "" for all ranks together."""


def prints_of(
    states: Iterable[ShardedState], optimizer: "OptimizerState", weights: "Mapping[str, WholeTensor]"
) -> Prints:
    """Return the digests of the parts of the states, from the CRCs that torch wrote with them."""
    trained = frozenset(map(str, optimizer.state))
    wanted = {name: WEIGHTS for name in weights if _is_of(name, trained)}
    wanted |= {name: key for name in optimizer.places if (key := name.rpartition(".")[2]) in FADING}
    rows: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for what, place, row in _rows(states, wanted):
        rows.setdefault((what, ""), []).append(row)
        rows.setdefault((what, place), []).append(row)
    found: dict[tuple[str, str], Print] = {}
    for where, parts in rows.items():
        digest = blake2b(repr(sorted(set(parts))).encode(), digest_size=16).hexdigest()
        found[where] = Print(digest, len({name for name, _, _ in parts}), all(" F16" not in row[1] for row in parts))
    return found


def _rows(states: Iterable[ShardedState], wanted: Mapping[str, str]) -> Iterator[tuple[str, str, tuple[str, str, str]]]:
    for state in states:
        for path, sections in state.sections.items():
            rank = _RANK.fullmatch(path.rpartition("/")[2])
            place = f"{state.directory}/{rank[1] if rank else path}"
            for section in sections:
                what, ref, data = wanted.get(section.item.name), section.ref, section.data
                if what is None or ref is None or data is None or ref.elements <= 1 or not section.crc_written:
                    continue
                half = " F16" if ref.dtype not in ("F32", "F64") else ""
                yield what, place, (section.item.name, f"{section.item.offsets}{half}", f"{data.crc}")


def _is_of(name: str, trained: frozenset[str]) -> bool:
    """Whether a tensor is that of a parameter in the optimizer, below any name."""
    place = 0
    while name[place:] not in trained:
        place = name.find(".", place) + 1
        if not place:
            return False
    return True
