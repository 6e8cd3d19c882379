"""Read the states of DeepSpeed's engine: ``*_model_states.pt`` and the ZeRO partitions ``*_optim_states.pt``.

Both are torch archives. What is in them was learned from files that DeepSpeed 0.19 wrote; a file of another shape is
no fault, it is only not understood.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.formats.damage import Damage, Kind
from audit.formats.pickle_values import Call, TensorRef
from audit.formats.torch_archive import TorchArchive

_MOST = 1 << 53
"""Counts beyond are not believed: a double does not hold them."""


class EngineState(NamedTuple):
    """What one ``*_model_states.pt`` says of the training.

    ``global_steps`` counts the engine's steps, ``skipped_steps`` those without an update (fp16 overflows).
    ``shapes``: of each parameter group the trained parameters and their shapes, in their order; None if not known.
    ``own_scheduler``: the engine keeps the learning-rate schedule, otherwise the trainer does. ``empty``: the module
    has no values, as under ZeRO-3.
    """

    global_steps: int
    skipped_steps: int
    dp_world_size: int
    mp_world_size: int
    shapes: tuple[Mapping[str, tuple[int, ...]], ...] | None
    own_scheduler: bool
    empty: bool


class Partition(NamedTuple):
    """What one ``*_optim_states.pt`` holds: one rank's slice of the flat weights and moments of each group.

    ``steps`` are the counts of updates that the inner optimizer has; ``lengths`` and ``paddings`` are in elements,
    ``counts`` the number of ranks, by group. ``slices``: of each group the parameters in this rank's slice and how many
    of their elements are in it, in their order; None under ZeRO-3, which keeps none.
    """

    steps: tuple[float, ...]
    lengths: tuple[int, ...]
    paddings: tuple[int, ...]
    counts: tuple[int, ...]
    slices: tuple[Mapping[str, int], ...] | None


def engine_in(archive: TorchArchive) -> EngineState | Damage:
    """Return the engine's state, Damage for a file of another shape."""
    value = archive.value
    if type(value) is not dict or type(value.get("module")) is not dict:
        return Damage(Kind.MALFORMED, "is not a known state of DeepSpeed's engine: it has no module")
    numbers = {name: _count(value.get(name)) for name in ("global_steps", "skipped_steps", "dp_world_size")}
    unknown = next((name for name, number in numbers.items() if number is None), None)
    if unknown is not None:
        return Damage(Kind.MALFORMED, f"is not a known state of DeepSpeed's engine: it has no {unknown}")
    tensors = [item for item in value["module"].values() if type(item) is TensorRef]
    config = value.get("ds_config")
    return EngineState(
        numbers["global_steps"] or 0,
        numbers["skipped_steps"] or 0,
        numbers["dp_world_size"] or 0,
        _count(value.get("mp_world_size")) or 1,
        _shapes(value.get("param_shapes")),
        value.get("lr_scheduler") is not None or (type(config) is dict and "scheduler" in config),
        bool(tensors) and not any(item.elements for item in tensors),
    )


def partition_in(archive: TorchArchive) -> Partition | Damage:
    """Return a rank's partition, Damage for a file of another shape."""
    value = archive.value
    state = value.get("optimizer_state_dict") if type(value) is dict else None
    if type(state) is not dict:
        return Damage(Kind.MALFORMED, "is not a known partition of ZeRO: it has no optimizer_state_dict")
    flat = state.get("single_partition_of_fp32_groups", state.get("fp32_flat_groups"))
    inner = state.get("base_optimizer_state", state.get("optimizer_state_dict"))
    given = state.get("partition_count")
    counts = [_count(item) for item in (given if type(given) is list else [given])]
    if type(flat) is not list or not all(type(item) is TensorRef for item in flat) or type(inner) is not dict:
        return Damage(Kind.MALFORMED, "is not a known partition of ZeRO: it has no flat weights")
    known_counts = tuple(item for item in counts if item is not None)
    if not counts or len(known_counts) != len(counts):
        return Damage(Kind.MALFORMED, "is not a known partition of ZeRO: it has no partition_count")
    paddings = state.get("group_paddings")
    padding = [_count(item) for item in paddings] if type(paddings) is list and len(paddings) == len(flat) else []
    return Partition(
        _steps(archive, inner),
        tuple(item.elements for item in flat),
        tuple(item for item in padding if item is not None) if None not in padding else (),
        known_counts,
        _slices(state.get("param_slice_mappings")),
    )


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < _MOST else None


def _shapes(value: Any) -> tuple[Mapping[str, tuple[int, ...]], ...] | None:
    if type(value) is not list or not all(type(group) is dict for group in value):
        return None
    for group in value:
        for name, shape in group.items():
            if type(name) is not str or type(shape) is not tuple or any(_count(size) is None for size in shape):
                return None
    return tuple(value)


def _steps(archive: TorchArchive, inner: Mapping[Any, Any]) -> tuple[float, ...]:
    states = inner.get("state")
    found = []
    for entry in states.values() if type(states) is dict else ():
        step = entry.get("step") if type(entry) is dict else None
        number = archive.scalars.get(step) if type(step) is TensorRef else step
        if isinstance(number, int | float) and -_MOST < number < _MOST:
            found.append(float(number))
    return tuple(found)


def _slices(value: Any) -> tuple[Mapping[str, int], ...] | None:
    if type(value) is not list or not all(type(group) is dict for group in value):
        return None
    found = []
    for group in value:
        sizes = {}
        for name, address in group.items():
            args = address.args if type(address) is Call else ()
            if type(name) is not str or not args or (size := _count(args[0])) is None:
                return None
            sizes[name] = size
        found.append(sizes)
    return tuple(found)
