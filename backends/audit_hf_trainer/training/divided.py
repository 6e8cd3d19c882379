"""What a process of FSDP holds of the weights and of the optimizer's state, compared with the files.

Sources: torch 2.13, ``distributed/tensor`` (FSDP 2: a DTensor for each parameter) and
``distributed/fsdp/_flat_param.py`` (FSDP 1: a flat parameter for several of them); accelerate 1.15,
``utils/fsdp_utils.py`` for the names in the files.
Nothing is gathered: each process reads of the files what it holds itself.
"""

import os
from collections.abc import Iterable, Iterator
from math import prod
from typing import Any, NamedTuple

import torch

from audit.plugin import (
    OPTIMIZER_PART,
    WEIGHTS_PART,
    Compared,
    NotApplicable,
    StoredOptimizer,
    StoredState,
    StoredTensor,
)
from audit_hf_trainer.fsdp import MODEL
from audit_hf_trainer.fsdp import OPTIMIZER as WHOLE_OPTIMIZER
from audit_hf_trainer.training.tally import MISSING, Run, Saved, Tally, loaded_file, reading

WRAPPERS = ("_checkpoint_wrapped_module.", "_orig_mod.", "_fsdp_wrapped_module.")
"""What wraps a module and is in the names of its parameters, but not in the files."""
FIELDS = ("_fqns", "_shapes", "_shard_param_infos", "_params")
"""What a flat parameter says of the parameters in it: names, shapes, places in the shard, and they, if kept."""


class Held(NamedTuple):
    """A flat tensor of this process: its ``runs`` are those of the whole tensor of ``shape``."""

    flat: torch.Tensor
    runs: tuple[Run, ...]
    shape: tuple[int, ...]


class Unknown(Exception):
    """It is divided in a way that is not known here."""


def compare_divided(
    trainer: Any, checkpoint: str, stored: StoredState, skip: frozenset[str]
) -> tuple[Compared, Compared]:
    """Compare what this process holds of weights and optimizer with the files; ``skip`` are settings that are not."""
    model: Any = trainer.model_wrapped  # the outermost unit of FSDP 1
    if not any(_flat_units(model)):
        model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    return (
        _part(WEIGHTS_PART, frozenset(), lambda tally: _weights(tally, model, checkpoint, stored)),
        _part(OPTIMIZER_PART, skip, lambda tally: _optimizer(tally, model, trainer.optimizer, checkpoint, stored)),
    )


def _part(part: str, skip: frozenset[str], compare: Any) -> Compared:
    tally = Tally(part, skip)
    try:
        compare(tally)
    except (Unknown, NotApplicable) as why:
        tally.missed.append(str(why))
    return tally.result()


def _weights(tally: Tally, model: Any, checkpoint: str, stored: StoredState) -> None:
    saved = _saved_weights(checkpoint, stored)
    live = held(model)
    lost = 0
    for name, (shape, read) in saved.items():
        found = live.get(name)
        if found is None:
            lost += 1
        elif found.shape != shape:
            tally.value(name, shape, found.shape)
        else:
            tally.pieces(name, read, found.flat, found.runs)
    if lost:
        tally.missed.append(f"{lost} of {len(saved)} tensors have other names in the model than in the files")


def _saved_weights(checkpoint: str, stored: StoredState) -> dict[str, tuple[tuple[int, ...], Saved]]:
    """The shape of each tensor in the files, and what reads it."""
    whole = os.path.join(checkpoint, MODEL)
    if os.path.isfile(whole):
        return {name: (tuple(item.shape), _of_tensor(item)) for name, item in loaded_file(whole).items()}
    if not stored.sharded:
        raise NotApplicable(_nothing(checkpoint, "weights"))
    return {name.removeprefix("model."): (item.shape, reading(item)) for name, item in stored.weights().items()}


def _optimizer(tally: Tally, model: Any, optimizer: Any, checkpoint: str, stored: StoredState) -> None:
    state, groups = _saved_optimizer(checkpoint, stored)
    live = getattr(optimizer, "optimizer", optimizer)
    moments = held_moments(model, live)
    for name, entry in state.items():
        mine = moments.get(name, {})
        if mine is None:
            continue
        for key, value in entry.items():
            _value(tally, f"{name}.{key}", value, mine.get(key, MISSING))
    tally.value("param_groups", len(groups), len(live.param_groups))
    for number, (saved, own) in enumerate(zip(groups, live.param_groups, strict=False)):
        for key, value in saved.items():
            if isinstance(value, StoredTensor):
                value = float(reading(value)(0, 1))
            tally.value(f"param_groups.{number}", {key: value}, own)


def _saved_optimizer(checkpoint: str, stored: StoredState) -> StoredOptimizer:
    whole = os.path.join(checkpoint, WHOLE_OPTIMIZER)
    if os.path.isfile(whole):
        found = loaded_file(whole)
        groups = tuple({k: v for k, v in group.items() if k != "params"} for group in found["param_groups"])
        return StoredOptimizer(found["state"], groups)
    if not stored.sharded:
        raise NotApplicable(_nothing(checkpoint, "optimizer's state"))
    return stored.optimizer()


def _nothing(checkpoint: str, what: str) -> str:
    local = [name for name in os.listdir(checkpoint) if "_rank" in name]
    if local:
        return f"each process has saved its {what} in a file of its own ({min(local)}), which is not compared"
    return f"there is no sharded state with the {what}"


def _value(tally: Tally, name: str, saved: Any, live: Any) -> None:
    """Compare a moment, or another value of a parameter's state, with what is held."""
    if not isinstance(live, Held):
        if isinstance(saved, StoredTensor):
            # A tensor of the parameter's shape is not held as one at all, so nothing is like it.
            saved = reading(saved)(0, 1).reshape(saved.shape) if saved.elements == 1 else saved.shape
        tally.value(name, saved, live)
        return
    shape = tuple(saved.shape) if isinstance(saved, StoredTensor | torch.Tensor) else None
    if shape is None:
        tally.value(name, saved, live.flat)
    elif shape != live.shape:
        tally.value(name, shape, live.shape)
    else:
        read = reading(saved) if isinstance(saved, StoredTensor) else _of_tensor(saved)
        tally.pieces(name, read, live.flat, live.runs)


def _of_tensor(tensor: torch.Tensor) -> Saved:
    flat = tensor.detach().reshape(-1)
    return lambda start, count: flat[start : start + count]


def held(model: Any) -> dict[str, Held]:
    """Return what this process holds of the weights, by each of the names that the files may have. Raises Unknown."""
    flat = {name: item for unit in _flat_units(model) for name, item in unit.weights()}
    if flat:
        found = {**{name: held_in(item) for name, item in model.named_buffers()}, **flat}
        return {**found, **{_of_adapter(name, model): item for name, item in found.items()}}
    named = model.state_dict()
    if hasattr(model, "peft_config"):
        from peft import get_peft_model_state_dict

        for name in model.peft_config:
            named |= get_peft_model_state_dict(model, adapter_name=name)
    return {clean(name): held_in(item) for name, item in named.items() if isinstance(item, torch.Tensor)}


def held_moments(model: Any, optimizer: Any) -> dict[str, dict[str, Any] | None]:
    """Return what this process holds of each parameter's state: :class:`Held` for a tensor of the parameter's shape.

    None for a parameter of which it holds nothing, and for which the optimizer then makes no state.
    """
    units = list(_flat_units(model))
    if units:
        return {name: entry for unit in units for name, entry in unit.states(optimizer)}
    return {
        clean(name): {
            key: held_in(item) if isinstance(item, torch.Tensor) and item.dim() else item
            for key, item in optimizer.state[parameter].items()
        }
        for name, parameter in model.named_parameters()
        if parameter in optimizer.state
    }


def held_in(tensor: torch.Tensor) -> Held:
    """Return what this process holds of a tensor. Raises Unknown for a DTensor that is divided in another way."""
    from torch.distributed.tensor import DTensor, Replicate, Shard

    if not isinstance(tensor, DTensor):
        return Held(tensor.detach().reshape(-1), ((0, 0, tensor.numel()),), tuple(tensor.shape))
    if any(type(item) not in (Shard, Replicate) for item in tensor.placements):
        raise Unknown(f"a tensor is divided as {tensor.placements}, which is not compared")
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    sizes, offsets = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    local = tensor.to_local().detach()
    if tuple(local.shape) != tuple(sizes):
        raise Unknown("a tensor's piece has another shape than its division says, so it is not compared")
    return Held(local.reshape(-1), tuple(runs(tuple(tensor.shape), tuple(offsets), tuple(sizes))), tuple(tensor.shape))


def runs(shape: tuple[int, ...], offsets: tuple[int, ...], sizes: tuple[int, ...]) -> Iterator[Run]:
    """Yield where the elements of a box follow each other in the whole tensor and in the box."""
    if not prod(sizes):
        return
    axis = len(shape)  # this dimension and all after it are whole
    while axis and sizes[axis - 1] == shape[axis - 1]:
        axis -= 1
    outer = max(0, axis - 1)
    length = prod(sizes[outer:])
    steps = [prod(shape[place + 1 :]) for place in range(len(shape))]
    first = sum(start * step for start, step in zip(offsets, steps, strict=True))
    for number in range(prod(sizes[:outer])):
        place, left = first, number
        for size, step in zip(reversed(sizes[:outer]), reversed(steps[:outer]), strict=True):
            left, index = divmod(left, size)
            place += index * step
        yield place, number * length, length


def clean(name: str) -> str:
    """Return the name that a parameter has in the files."""
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _of_adapter(name: str, model: Any) -> str:
    """The name that peft gives a parameter of an adapter in the files."""
    for adapter in getattr(model, "peft_config", ()):
        name = name.replace(f".modules_to_save.{adapter}.", ".").replace(f".{adapter}.", ".")
    return name


class _Unit:
    """A module of FSDP 1, which has its parameters one after the other in a flat one."""

    def __init__(self, prefix: str, flat: Any) -> None:
        self._prefix, self._flat = prefix, flat

    def weights(self) -> Iterator[tuple[str, Held]]:
        """Yield the pieces of the parameters by name."""
        local = self._flat.detach().reshape(-1)
        for name, shape, place, _ in self._places():
            yield name, Held(local, place, shape)

    def states(self, optimizer: Any) -> Iterator[tuple[str, dict[str, Any] | None]]:
        """Yield the pieces of the parameters' state by name, None for one of which nothing is here."""
        whole = optimizer.state.get(self._flat)
        for name, shape, place, parameter in self._places():
            entry = whole if parameter is None else optimizer.state.get(parameter)
            if not entry:
                yield name, {} if place else None
                continue
            # With original parameters each has a state of its own, which begins with its own first element.
            own = place if parameter is None else tuple((start, 0, count) for start, _, count in place)
            yield (
                name,
                {
                    key: Held(item.detach().reshape(-1), own, shape)
                    if isinstance(item, torch.Tensor) and item.dim()
                    else item
                    for key, item in entry.items()
                },
            )

    def _places(self) -> Iterator[tuple[str, tuple[int, ...], tuple[Run, ...], Any]]:
        names, shapes, infos, kept = (getattr(self._flat, field) for field in FIELDS)
        for name, shape, info, parameter in zip(names, shapes, infos, kept or [None] * len(names), strict=True):
            place: tuple[Run, ...] = ()
            if info.in_shard:
                place = ((info.intra_param_start_idx, info.offset_in_shard, info.numel_in_shard),)
            yield f"{self._prefix}{clean(name)}", tuple(shape), place, parameter


def _flat_units(model: Any) -> Iterable[_Unit]:
    """The units of FSDP 1, none for FSDP 2. Raises Unknown if torch has changed them."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    found = []
    for name, module in model.named_modules():
        if not isinstance(module, FullyShardedDataParallel):
            continue
        flat = getattr(module, "_flat_param", None)
        if flat is None:
            continue
        if any(not hasattr(flat, field) for field in FIELDS):
            raise Unknown("this version of torch divides a flat parameter in a way that is not known, so not compared")
        found.append(_Unit(clean(f"{name}." if name else ""), flat))
    return found
