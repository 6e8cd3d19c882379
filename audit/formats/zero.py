"""Read the states of DeepSpeed's engine: ``*_model_states.pt`` and the ZeRO partitions ``*_optim_states.pt``.

Both are torch archives. What is in them was learned from files that DeepSpeed 0.19 wrote; a file of another shape is
no fault, it is only not understood.
"""

from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

from audit.formats.damage import Damage, Kind
from audit.formats.pickle_values import ITEM_SIZES, Call, TensorRef
from audit.formats.torch_archive import TorchArchive

_MOST = 1 << 53
"""Counts beyond are not believed: a double does not hold them."""


class EngineState(NamedTuple):
    """What one ``*_model_states.pt`` says of the training.

    ``global_steps`` counts the engine's steps, ``skipped_steps`` those without an update (fp16 overflows).
    ``shapes``: of each parameter group the trained parameters and their shapes, in their order; None if not known.
    ``own_scheduler``: the engine keeps the learning-rate schedule, otherwise the trainer does. ``empty``: the module
    has no values, as under ZeRO-3. ``bf16``: whether it is trained in bfloat16, None if the file does not say.
    ``module``: of each tensor of the module the storage that it is in. ``elastic``: ``elastic_checkpoint`` is on, so
    another number of processes can load the partitions. ``stage`` of ZeRO, None if the file does not say. ``frozen``:
    of each frozen parameter the storage of what this file has of it: under ZeRO-3 one rank's slice, else all of it.
    ``sizes``: the shape of each tensor of the module.
    """

    global_steps: int
    skipped_steps: int
    dp_world_size: int
    mp_world_size: int
    shapes: tuple[Mapping[str, tuple[int, ...]], ...] | None
    own_scheduler: bool
    empty: bool
    bf16: bool | None = None
    module: Mapping[str, str] = {}
    elastic: bool = False
    stage: int | None = None
    frozen: Mapping[str, str] = {}
    sizes: Mapping[str, tuple[int, ...]] = {}


class Slice(NamedTuple):
    """Where a rank has a part of a parameter: ``size`` elements from ``start`` of the rank's flat weights."""

    start: int
    size: int


class Partition(NamedTuple):
    """What one ``*_optim_states.pt`` holds: one rank's slice of the flat weights and moments of each group.

    ``steps`` are the counts of updates that the inner optimizer has; ``lengths`` and ``paddings`` are in elements,
    ``counts`` the number of ranks, by group. ZeRO 1 and 2 write the weights without the padding at the end of the last
    rank's slice, the moments with it. ``slices``: of each group the parameters in this rank's slice; None under ZeRO-3,
    which keeps none. ``aligned``: there are gaps between the parameters (``parameter_alignment``). ``moments``: the
    storages of each group's state by key, ``weights`` those of the flat weights.
    """

    steps: tuple[float, ...]
    lengths: tuple[int, ...]
    paddings: tuple[int, ...]
    counts: tuple[int, ...]
    slices: tuple[Mapping[str, Slice], ...] | None
    aligned: bool = False
    weights: tuple[str, ...] = ()
    moments: tuple[Mapping[str, str], ...] = ()


class Stored(NamedTuple):
    """Where the elements of a tensor are in a file: one after the other from byte ``offset``."""

    dtype: str
    offset: int
    elements: int


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
        _bf16(config),
        _storages(value["module"]),
        _elastic(config),
        _stage(config),
        _storages(value.get("frozen_param_fragments")),
        {name: ref.shape for name, ref in value["module"].items() if type(name) is str and type(ref) is TensorRef},
    )


def partition_in(archive: TorchArchive) -> Partition | Damage:
    """Return a rank's partition, Damage for a file of another shape."""
    state = _state_in(archive)
    if state is None:
        return Damage(Kind.MALFORMED, "is not a known partition of ZeRO: it has no optimizer_state_dict")
    flat = _flat(state)
    inner = _inner(state)
    given = state.get("partition_count")
    counts = [_count(item) for item in (given if type(given) is list else [given])]
    if flat is None or type(inner) is not dict:
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
        _any_above_zero(state.get("param_alignment_paddings")),
        tuple(f"data/{item.storage}" for item in flat),
        tuple(
            {key: f"data/{item.storage}" for key, item in entry.items() if type(key) is str and type(item) is TensorRef}
            for entry in _entries(inner, len(flat))
        ),
    )


def module_in(archive: TorchArchive) -> dict[str, Stored]:
    """Return where the weights of the engine's module are, by name; only those whose elements are in order."""
    value = archive.value
    module = value.get("module") if type(value) is dict else None
    found = {}
    for name, ref in module.items() if type(module) is dict else ():
        stored = stored_in(archive, ref) if type(name) is str and type(ref) is TensorRef else None
        if stored is not None:
            found[name] = stored
    return found


def empty_in(archive: TorchArchive) -> tuple[str, ...]:
    """Return the tensors of the engine's module that have no values there, but for other names of shared ones."""
    value = archive.value
    module = value.get("module") if type(value) is dict else None
    shared = value.get("shared_params") if type(value) is dict else None
    names = module if type(module) is dict else {}
    others = shared if type(shared) is dict else {}
    return tuple(
        name for name, ref in names.items() if type(ref) is TensorRef and not ref.elements and name not in others
    )


def frozen_in(archive: TorchArchive) -> dict[str, tuple[Stored, int]]:
    """Return where the frozen parameters of an engine's state are, by name, and how many elements a whole one has.

    Only those whose elements are in order, and whose shape the file says.
    """
    value = archive.value if type(archive.value) is dict else {}
    fragments, known = value.get("frozen_param_fragments"), _shapes([value.get("frozen_param_shapes")])
    shapes = known[0] if known is not None else {}
    found = {}
    for name, ref in fragments.items() if type(fragments) is dict else ():
        stored = stored_in(archive, ref) if name in shapes and type(ref) is TensorRef else None
        if stored is not None:
            found[name] = (stored, prod(shapes[name]))
    return found


def flat_weights_in(archive: TorchArchive) -> tuple[Stored | None, ...]:
    """Return where the flat weights of each group are in a partition."""
    return tuple(stored_in(archive, ref) for ref in flat_in(archive))


def flat_tensors_in(archive: TorchArchive) -> tuple[tuple[tuple[str, Stored], ...], ...]:
    """Return of each group its flat tensors, the weights first and then the moments: their record, and where they are.

    A group whose weights are stored in an unusual order has none.
    """
    state = _state_in(archive) or {}
    inner = _inner(state)
    flat = _flat(state) or ()
    entries = _entries(inner, len(flat)) if type(inner) is dict else []
    found = []
    for weights, entry in zip(flat, entries, strict=False):
        refs = [weights, *(item for item in entry.values() if type(item) is TensorRef)]
        places = [(f"data/{ref.storage}", stored_in(archive, ref)) for ref in refs]
        known = tuple((name, place) for name, place in places if place is not None)
        found.append(known if places[0][1] is not None else ())
    return tuple(found)


def inner_in(archive: TorchArchive) -> Mapping[str, Any]:
    """Return the state dict of the optimizer that ZeRO divides, empty for a file of another shape."""
    inner = _inner(_state_in(archive) or {})
    return inner if type(inner) is dict else {}


def flat_in(archive: TorchArchive) -> tuple[TensorRef, ...]:
    """Return the flat weights of each group in a partition, none for a file of another shape."""
    return tuple(_flat(_state_in(archive) or {}) or ())


def stored_in(archive: TorchArchive, ref: TensorRef) -> Stored | None:
    """Return where the elements of a tensor are, None if they are not stored in plain order."""
    record = archive.records.get(f"data/{ref.storage}")
    if record is None or archive.byteorder != "little" or not ref.in_order:
        return None
    return Stored(ref.dtype, record.offset + ref.offset * ITEM_SIZES[ref.dtype], ref.elements)


def _storages(tensors: Any) -> dict[str, str]:
    """The storage of each tensor, by name; with PEFT under Trainer there may be None in place of the tensors."""
    return {
        name: f"data/{ref.storage}"
        for name, ref in (tensors.items() if type(tensors) is dict else ())
        if type(name) is str and type(ref) is TensorRef
    }


def _state_in(archive: TorchArchive) -> Mapping[str, Any] | None:
    """The state of ZeRO's optimizer in a partition, None for a file of another shape."""
    state = archive.value.get("optimizer_state_dict") if type(archive.value) is dict else None
    return state if type(state) is dict else None


def _inner(state: Mapping[str, Any]) -> Any:
    """The state of the optimizer that ZeRO divides; ZeRO 3 has another name for it."""
    return state.get("base_optimizer_state", state.get("optimizer_state_dict"))


def _flat(state: Mapping[str, Any]) -> list[TensorRef] | None:
    flat = state.get("single_partition_of_fp32_groups", state.get("fp32_flat_groups"))
    return flat if type(flat) is list and all(type(item) is TensorRef for item in flat) else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < _MOST else None


def _bf16(config: Any) -> bool | None:
    for name in ("bf16", "bfloat16"):
        table = config.get(name) if type(config) is dict else None
        enabled = table.get("enabled", False) if type(table) is dict else None
        if type(enabled) is bool:
            return enabled
    return None


def _elastic(config: Any) -> bool:
    table = config.get("zero_optimization") if type(config) is dict else None
    return type(table) is dict and table.get("elastic_checkpoint") is True


def _stage(config: Any) -> int | None:
    table = config.get("zero_optimization") if type(config) is dict else None
    stage = table.get("stage") if type(table) is dict else None
    return stage if type(stage) is int else None


def _any_above_zero(value: Any) -> bool:
    groups = value if type(value) is list else []
    return any(type(item) is int and item > 0 for group in groups if type(group) is list for item in group)


def _shapes(value: Any) -> tuple[Mapping[str, tuple[int, ...]], ...] | None:
    if type(value) is not list or not all(type(group) is dict for group in value):
        return None
    for group in value:
        for name, shape in group.items():
            if type(name) is not str or type(shape) is not tuple or any(_count(size) is None for size in shape):
                return None
    return tuple(value)


def _entries(inner: Mapping[Any, Any], count: int) -> list[Mapping[Any, Any]]:
    """The state of each flat tensor by its number, empty if there is none."""
    states = inner.get("state")
    found = [states.get(number) for number in range(count)] if type(states) is dict else [None] * count
    return [entry if type(entry) is dict else {} for entry in found]


def _steps(archive: TorchArchive, inner: Mapping[Any, Any]) -> tuple[float, ...]:
    """The counts of the states; DeepSpeed's FusedAdam keeps them in the groups."""
    groups = inner.get("param_groups")
    states = inner.get("state")
    kept = [entry for entry in states.values() if type(entry) is dict] if type(states) is dict else []
    if not any("step" in entry for entry in kept) and type(groups) is list:
        kept = [group for group in groups if type(group) is dict]
    found = []
    for entry in kept:
        step = entry.get("step")
        number = archive.scalars.get(step) if type(step) is TensorRef else step
        if isinstance(number, int | float) and -_MOST < number < _MOST:
            found.append(float(number))
    return tuple(found)


def _slices(value: Any) -> tuple[Mapping[str, Slice], ...] | None:
    if type(value) is not list or not all(type(group) is dict for group in value):
        return None
    found = []
    for group in value:
        sizes = {}
        for name, address in group.items():
            place = _place(address)
            if type(name) is not str or place is None:
                return None
            sizes[name] = place
        found.append(sizes)
    return tuple(found)


def _place(address: Any) -> Slice | None:
    """A ``deepspeed.utils.tensor_fragment.fragment_address``, a dataclass: its state has the fields."""
    state = address.state if type(address) is Call else None
    if type(state) is not dict:
        return None
    start, size = _count(state.get("start")), _count(state.get("numel"))
    return None if start is None or size is None else Slice(start, size)
