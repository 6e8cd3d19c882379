"""The tensors of two checkpoints, paired by name: what was added, what is gone, what changed and by how much."""

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from audit.errors import NotApplicable
from audit.facts.checkpoint import Checkpoint
from audit.facts.chunks import Assembled
from audit.facts.file import File, FileFormat, is_metadata
from audit.facts.open_files import OpenFiles
from audit.facts.whole_tensors import WholeTensor
from audit.formats.pickle_values import ITEM_SIZES, in_order
from audit.formats.tensors import Tensor

if TYPE_CHECKING:
    from audit.scan.differences import Part

REMOVED, ADDED, RESHAPED, RETYPED, CHANGED = "removed", "added", "shape", "dtype", "changed"


class TensorChange(NamedTuple):
    """One tensor that is not the same; ``kind`` is "removed", "added", "shape", "dtype" or "changed".

    ``name`` has the directory of an adapter before it, if that is not the checkpoint itself. The last four are
    those of :class:`audit.scan.differences.Distance`, None if there is nothing to compare.
    """

    name: str
    kind: str
    dtype: tuple[str | None, str | None]
    shape: tuple[tuple[int, ...] | None, tuple[int, ...] | None]
    elements: int | None = None
    changed: int | None = None
    max_abs: float | None = None
    relative_l2: float | None = None
    nonfinite: int | None = None


class Tensors(NamedTuple):
    """The tensors that differ, by name, and how many are the ``same``.

    ``in_pieces``: some weights are in pieces of tensors which cannot be put together, so only files are compared.
    """

    changes: tuple[TensorChange, ...]
    same: int
    in_pieces: bool


class Place(NamedTuple):
    """A tensor and the file that holds it; ``dense`` elements are one after the other in little-endian order.

    ``whole`` makes the parts that it is stored in instead, in the files of ``held``; ``file`` says which they are.
    """

    file: File
    tensor: Tensor
    order: tuple[int, ...]
    dense: bool
    whole: Callable[[], WholeTensor] | None = None
    held: tuple[File, ...] = ()

    @property
    def files(self) -> dict[str, File]:
        """All files that say what it is, by path."""
        return {file.path: file for file in (self.file, *self.held)}


def compare_tensors(a: Checkpoint, b: Checkpoint, same_files: frozenset[str], troubles: list[str]) -> Tensors:
    """Compare all tensors of two checkpoints.

    Tensors in files of ``same_files``, which are the same byte for byte, are not read again.
    """
    mine, all_mine, mine_in_pieces = _places(a, "A", same_files, troubles)
    other, all_other, other_in_pieces = _places(b, "B", same_files, troubles)
    # Tensors of a torch file may share storage; made-up files could have it read a million times.
    budget = [2 * sum([*_sizes(mine).values(), *_sizes(other).values()])]
    found: list[TensorChange] = []
    same = 0
    with OpenFiles() as files:
        for name in dict.fromkeys([*mine, *other]):
            first, second = mine.get(name), other.get(name)
            if first is None or second is None:
                if first and all_other:
                    found.append(TensorChange(name, REMOVED, (first.tensor.dtype, None), (first.tensor.shape, None)))
                if second and all_mine:
                    found.append(TensorChange(name, ADDED, (None, second.tensor.dtype), (None, second.tensor.shape)))
                continue
            if first.files.keys() == second.files.keys() and first.files.keys() <= same_files:
                same += 1
                continue
            try:
                change = _change(name, first, second, files, budget)
            except OSError as error:
                troubles.append(f"{name}: {error.strerror or error}")
                continue
            if change is None:
                same += 1
            else:
                found.append(change)
    return Tensors(tuple(sorted(found)), same, mine_in_pieces or other_in_pieces)


def _sizes(places: dict[str, Place]) -> dict[str, int]:
    return {path: file.entry.size for place in places.values() for path, file in place.files.items()}


def _change(name: str, first: Place, second: Place, files: OpenFiles, budget: list[int]) -> TensorChange | None:
    """How one tensor differs, None if it does not. Raises OSError if that cannot be said."""
    from audit.scan.differences import distance

    one, two = first.tensor, second.tensor
    blank = TensorChange(name, CHANGED, (one.dtype, two.dtype), (one.shape, two.shape))
    if one.shape != two.shape:
        return blank._replace(kind=RESHAPED)
    kind = CHANGED if one.dtype == two.dtype else RETYPED
    budget[0] -= one.nbytes + two.nbytes
    if budget[0] < 0:
        raise OSError("its elements share more storage than the files hold; not compared")
    if not (first.dense and second.dense and first.order == second.order):
        raise OSError("its elements are stored in different or unusual orders; not compared")
    elements = prod(one.shape)
    found = distance(_part(first, files), _part(second, files), elements)
    if found is None:
        return None if kind == CHANGED else blank._replace(kind=kind, elements=elements, changed=0, max_abs=0.0)
    return TensorChange(name, kind, blank.dtype, blank.shape, elements, *found)


def _part(place: Place, files: OpenFiles) -> "Part":
    """Where the tensor is. Raises OSError if it is not whole."""
    from audit.scan.differences import Part

    tensor = place.tensor
    if place.whole is not None:
        held = place.files
        whole = Assembled(place.whole(), lambda path: files.reader(held[path]))
        return Part(whole, tensor.dtype, 0, whole.size)
    return Part(files.reader(place.file), tensor.dtype, tensor.offset, tensor.nbytes)


def _places(
    checkpoint: Checkpoint, side: str, same_files: frozenset[str], troubles: list[str]
) -> tuple[dict[str, Place], bool, bool]:
    """The tensors by name, whether these are all, and whether others are in pieces that cannot be put together.

    Of a file that cannot be read nobody knows what it holds. It is a trouble, unless it is the same on both sides.
    """
    layout = checkpoint.layout
    paths = dict.fromkeys([*layout.weights, *(item.weights for item in layout.adapters if item.weights)])
    found: dict[str, Place] = {}
    whole, in_pieces = True, False
    if layout.kind == "deepspeed":
        found, whole = _of_zero(checkpoint)
        in_pieces = not whole
    for path in paths:
        try:
            file = checkpoint.file(path, "weights")
            held = _tensors(file)
        except NotApplicable as missing:
            if path not in same_files:
                troubles.append(f"{side}: {missing}")
                whole = False
            continue
        directory = path.rpartition("/")[0]
        for place in held:
            name = f"{directory}/{place.tensor.name}" if directory else place.tensor.name
            found[name if name not in found else f"{path}: {name}"] = place
    if layout.sharded_weights and layout.kind != "deepspeed":
        chunks = checkpoint.optional("sharded_weights")
        in_pieces = chunks is None
        whole = whole and not in_pieces
        found |= {name: _in_chunks(checkpoint, item) for name, item in (chunks or {}).items()}
    return found, whole, in_pieces


def _in_chunks(checkpoint: Checkpoint, whole: WholeTensor) -> Place:
    files = tuple(checkpoint.files[path] for path in dict.fromkeys(part.path for part in whole.parts))
    metadata = checkpoint.files[next(path for path in checkpoint.layout.sharded_weights if is_metadata(path))]
    size = prod(whole.shape) * ITEM_SIZES.get(whole.dtype, 0)
    return Place(metadata, Tensor(whole.name, whole.dtype, whole.shape, 0, size), (), True, lambda: whole, files)


def _of_zero(checkpoint: Checkpoint) -> tuple[dict[str, Place], bool]:
    """The parameters in the partitions of ZeRO by name and the rest of the module, and whether these are all."""
    from audit.facts.zero_tensors import parameters_in
    from audit.formats.zero import module_in

    try:
        zero = checkpoint.zero
        tensors, lacking = parameters_in(zero, checkpoint.files)
    except NotApplicable:
        return {}, False
    engine = checkpoint.files[next(iter(zero.engines))]
    found = {}
    for name, item in tensors.items():
        held = tuple(checkpoint.files[path] for path in item.paths)
        size = prod(item.shape) * ITEM_SIZES.get(item.dtype, 0)
        found[name] = Place(engine, Tensor(name, item.dtype, item.shape, 0, size), (), True, item.pieces, held)
    for name, stored in module_in(engine.archive).items():
        if name not in found and stored.elements:
            size = stored.elements * ITEM_SIZES[stored.dtype]
            tensor = Tensor(name, stored.dtype, engine.archive.value["module"][name].shape, stored.offset, size)
            found[name] = Place(engine, tensor, (), True)
    return found, not lacking


def _tensors(file: File) -> list[Place]:
    if file.format != FileFormat.TORCH:
        return [Place(file, tensor, (), True) for tensor in file.safetensors.tensors.values()]
    from audit.formats.torch_archive import tensors

    archive = file.weights
    found = []
    for name, tensor in tensors(archive).items():
        ref = archive.value[name]
        dense = archive.byteorder == "little" and tensor.nbytes == prod(tensor.shape) * ITEM_SIZES[tensor.dtype]
        found.append(Place(file, tensor, _order(tensor.shape, ref.stride), dense))
    return found


def _order(shape: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of elements that are not in the order of their indices, else nothing."""
    return () if in_order(shape, stride) else stride
