"""The state that several processes have divided and saved, for comparison with what each of them holds.

Everything is read by the safe readers, and of a tensor no more than the piece that is asked for.
"""

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.errors import NotApplicable
from audit.facts.checkpoint import Checkpoint
from audit.facts.chunks import Assembled
from audit.facts.open_files import OpenFiles
from audit.facts.whole_tensors import WholeTensor, optimizer_parts_in
from audit.formats.pickle_values import ITEM_SIZES, TensorRef
from audit.storage import RangeReader

if TYPE_CHECKING:
    from audit.facts.zero import ZeroState
    from audit.formats.torch_archive import TorchArchive
    from audit.formats.zero import Stored

FP32 = "fp32"
"""The key of a rank's flat weights, beside those of its moments."""


class StoredTensor:
    """A tensor of ``shape`` in the files; ``dtype`` is a safetensors code."""

    def __init__(self, dtype: str, shape: tuple[int, ...], opened: Callable[[], tuple[RangeReader, int]]) -> None:
        self.dtype, self.shape = dtype, shape
        self._opened = opened
        self._kept: tuple[RangeReader, int] | None = None

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def read(self, start: int, count: int) -> bytes:
        """Return ``count`` elements from ``start``, in the order of their indices and little-endian.

        Raises OSError if they cannot be read, or the parts of the tensor do not make it up.
        """
        if self._kept is None:
            self._kept = self._opened()
        reader, offset = self._kept
        size = ITEM_SIZES[self.dtype]
        data = reader.read(offset + start * size, count * size)
        if len(data) != count * size:
            raise OSError(0, "became shorter while it was read")
        return data


class StoredOptimizer(NamedTuple):
    """``state`` by parameter and key: a :class:`StoredTensor` or another value; ``groups`` without their parameters."""

    state: Mapping[str, Mapping[str, "StoredTensor | Any"]]
    groups: tuple[Mapping[str, Any], ...]


class StoredSlice(NamedTuple):
    """What a rank of ZeRO has of a parameter: ``tensor`` is its flat ``group`` from element ``start`` on.

    ``key`` is :data:`FP32` for the weights, else that of a moment. ``name`` is that of the parameter, or of the whole
    group if it is not known where the parameters are.
    """

    name: str
    key: str
    group: int
    start: int
    tensor: StoredTensor


class StoredPartition(NamedTuple):
    """One rank's partition of ZeRO: its ``slices``, and the ``values`` of each group's state that are no moments.

    ``groups`` are those of the optimizer without their parameters. ``lacking``: parameters of which the partitions
    have nothing, because they were frozen. ``unread``: why some of it is not in ``slices``, None if all of it is.
    """

    slices: tuple[StoredSlice, ...]
    values: tuple[Mapping[str, Any], ...]
    groups: tuple[Mapping[str, Any], ...]
    lacking: int
    unread: str | None


class StoredState:
    """The divided state in one checkpoint. Its methods raise NotApplicable for what is not there or cannot be read."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._files = OpenFiles()

    def __enter__(self) -> "StoredState":
        return self

    def __exit__(self, *exc: object) -> None:
        self._files.__exit__()

    @property
    def sharded(self) -> bool:
        """Whether torch.distributed.checkpoint has saved weights or the optimizer's state."""
        return self._checkpoint.optional("shards") is not None

    def weights(self) -> dict[str, StoredTensor]:
        """Return the weights that torch.distributed.checkpoint has saved, by the name that they have there."""
        return {name: self._whole(item) for name, item in self._checkpoint.sharded_weights.items()}

    def optimizer(self) -> StoredOptimizer:
        """Return the optimizer's state that torch.distributed.checkpoint has saved, by the names of parameters."""
        found = optimizer_parts_in(self._checkpoint.shards, self._checkpoint.layout)
        state = {
            name: {key: self._whole(item) if isinstance(item, WholeTensor) else item for key, item in entry.items()}
            for name, entry in found.state.items()
        }
        return StoredOptimizer(state, tuple(_settings(group) for group in found.groups))

    def module(self) -> dict[str, StoredTensor]:
        """Return the weights of DeepSpeed's engine by name; ZeRO 3 has none, they are in the partitions."""
        from audit.formats.zero import module_in

        path = next(iter(self._checkpoint.zero.engines))
        archive = self._checkpoint.files[path].archive
        shapes = archive.value["module"]
        return {
            name: self._flat(path, item, shapes[name].shape)
            for name, item in module_in(archive).items()
            if item.elements
        }

    def engine_schedule(self) -> Any:
        """Return the state of the schedule that DeepSpeed's engine keeps itself, None if it keeps none."""
        path = next(iter(self._checkpoint.zero.engines))
        return self._checkpoint.files[path].archive.value.get("lr_scheduler")

    def partition(self, rank: int) -> StoredPartition:
        """Return what ``rank`` of ZeRO has saved."""
        from audit.formats.zero import inner_in

        zero = self._checkpoint.zero
        if rank >= len(zero.ranks):
            raise NotApplicable(f"{zero.tag}: the partition of rank {rank} is not there, or not that of all ranks")
        path = zero.paths[rank]
        archive = self._checkpoint.files[path].archive
        inner = inner_in(archive)
        by_group, unread = _flat_by_group(archive, inner)
        names, lacking = _names(zero, self._checkpoint, path, [item.get(FP32) for item in by_group])
        slices = []
        for group, kept in enumerate(by_group):
            for name, start, size in names[group]:
                for key, stored in kept.items():
                    count = min(size, stored.elements - start)
                    if count > 0:
                        part = stored._replace(offset=stored.offset + start * ITEM_SIZES[stored.dtype], elements=count)
                        slices.append(StoredSlice(name, key, group, start, self._flat(path, part, (count,))))
        groups = inner.get("param_groups")
        told = tuple(_settings(group) for group in groups if type(group) is dict) if type(groups) is list else ()
        return StoredPartition(tuple(slices), tuple(_values(archive, inner, by_group)), told, lacking, unread)

    def _whole(self, whole: WholeTensor) -> StoredTensor:
        files = self._checkpoint.files
        return StoredTensor(
            whole.dtype, whole.shape, lambda: (Assembled(whole, lambda path: self._files.reader(files[path])), 0)
        )

    def _flat(self, path: str, stored: "Stored", shape: tuple[int, ...]) -> StoredTensor:
        file = self._checkpoint.files[path]
        return StoredTensor(stored.dtype, shape, lambda: (self._files.reader(file), stored.offset))


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}


def _flat_by_group(archive: "TorchArchive", inner: Mapping[str, Any]) -> "tuple[list[dict[str, Stored]], str | None]":
    """The flat weights and moments of each group by key, and why one is not there."""
    from audit.formats.zero import flat_weights_in, stored_in

    found: list[dict[str, Stored]] = []
    unread = None
    for group, weights in enumerate(flat_weights_in(archive)):
        kept: dict[str, Stored] = {}
        moments = ((key, stored_in(archive, ref)) for key, ref in _entry(inner, group).items() if _is_moment(ref))
        for key, stored in ((FP32, weights), *moments):
            if stored is None:
                unread = f"{key} of group {group} is stored in an unusual order"
            else:
                kept[str(key)] = stored
        found.append(kept)
    return found, unread


def _entry(inner: Mapping[str, Any], group: int) -> Mapping[Any, Any]:
    """The state of a group, empty if there is none."""
    states = inner.get("state")
    entry = states.get(group) if type(states) is dict else None
    return entry if type(entry) is dict else {}


def _is_moment(value: Any) -> bool:
    return type(value) is TensorRef and value.shape != ()


def _values(
    archive: "TorchArchive", inner: Mapping[str, Any], groups: list[dict[str, Any]]
) -> Iterator[Mapping[str, Any]]:
    """The numbers in the state of each group."""
    for group in range(len(groups)):
        found = {
            str(key): archive.scalars.get(item) if type(item) is TensorRef else item
            for key, item in _entry(inner, group).items()
            if not _is_moment(item)
        }
        yield {key: item for key, item in found.items() if isinstance(item, int | float)}


Named = tuple[str, int, int]


def _names(
    zero: "ZeroState", checkpoint: Checkpoint, path: str, flat: "list[Stored | None]"
) -> tuple[list[list[Named]], int]:
    """Which elements of each flat group belong to which parameter: (name, start, elements); how many are lacking."""
    from audit.facts.zero_tensors import parameters_in

    try:
        tensors, lacking = parameters_in(zero, checkpoint.files)
    except NotApplicable:  # compared all the same, only not by name
        return [[(f"group {group}", 0, item.elements if item else 0)] for group, item in enumerate(flat)], 0
    found: list[list[Named]] = [[] for _ in flat]
    for tensor in tensors.values():
        if path not in tensor.paths:
            continue
        for part in tensor.pieces().parts:
            for group, item in enumerate(flat):
                size = ITEM_SIZES[item.dtype] if item is not None else 1
                if part.path == path and item and 0 <= part.tensor.offset - item.offset < item.elements * size:
                    start = (part.tensor.offset - item.offset) // size
                    found[group].append((tensor.name, start, prod(part.tensor.shape)))
    return found, lacking
