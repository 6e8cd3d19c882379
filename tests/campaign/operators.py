"""Ways to damage a file of a checkpoint, at a random place. Each is in the catalogue by its title.

An operator gets a :class:`Spot` and changes the run, or raises :class:`Inapplicable`.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from struct import pack, unpack
from typing import Any, NamedTuple

from audit.testing.runs import edit_tensors, edit_torch
from audit.testing.torch_files import FakeTensor
from tests.sharded.tools import sections, set_values

TORCH = (".pt", ".pth", ".bin", ".pkl", ".ckpt")
PAGE = 4096


class Inapplicable(Exception):
    """This operator has nothing to do at this spot."""


class Spot(NamedTuple):
    """Where: a file, the same file of another checkpoint, the other files of its checkpoint, and the chance."""

    file: Path
    other: Path
    siblings: tuple[Path, ...]
    chance: Random


Operator = Callable[[Spot], object]


class Kind(NamedTuple):
    """One operator. ``untold``: why its damage may leave no trace without a seal.

    ``harmless``: nothing may be found afterwards. ``removes``: the file is gone.
    """

    operator: Operator
    untold: str = ""
    harmless: bool = False
    removes: bool = False


OPERATORS: dict[str, Kind] = {}


def operator(title: str, untold: str = "", **traits: bool) -> Callable[[Operator], Operator]:
    """Put a function into the catalogue."""

    def add(function: Operator) -> Operator:
        assert title not in OPERATORS, title
        OPERATORS[title] = Kind(function, untold, **traits)
        return function

    return add


UNREAD = "a file that no resume reads, such as README.md"
NO_CHECKSUM = "safetensors and JSON have no checksum, and the changed bytes are a value like any other"
VALUE = "the value is one that training could have given"

# -- names ----------------------------------------------------------------------------------------------------------


@operator("file deleted", UNREAD, removes=True)
def _delete(spot: Spot) -> None:
    spot.file.unlink()


@operator("file renamed", UNREAD, removes=True)
def _rename(spot: Spot) -> None:
    spot.file.rename(spot.file.with_name(f"{spot.file.name}.{spot.chance.choice(('old', 'bak', 'tmp', '1'))}"))


@operator("file replaced by an empty directory", UNREAD)
def _directory(spot: Spot) -> None:
    spot.file.unlink()
    spot.file.mkdir()


@operator("file replaced by a link to that of another checkpoint")
def _link(spot: Spot) -> None:
    _differs(spot)
    spot.file.unlink()
    spot.file.symlink_to(os.path.relpath(spot.other, spot.file.parent))


@operator("file copied beside itself under another name", "the copy is read by nobody")
def _duplicate(spot: Spot) -> None:
    if spot.file.suffix == ".ckpt":
        raise Inapplicable  # a checkpoint more
    shutil.copy2(spot.file, spot.file.with_name(f"{spot.file.name}.copy"))


@operator("times changed", harmless=True)
def _touch(spot: Spot) -> None:
    moved = spot.chance.randrange(1, 10_000)
    os.utime(spot.file, (1.7e9 + moved, 1.7e9 + moved))


# -- bytes ----------------------------------------------------------------------------------------------------------


def _rewrite(spot: Spot, change: Callable[[bytes], bytes]) -> None:
    before = spot.file.read_bytes()
    after = change(before)
    if after == before:
        raise Inapplicable
    spot.file.write_bytes(after)


def _overwritten(data: bytes, start: int, new: bytes) -> bytes:
    return (data[:start] + new + data[start + len(new) :])[: len(data)]


@operator("file emptied", UNREAD)
def _empty(spot: Spot) -> None:
    _rewrite(spot, lambda data: b"")


@operator("file cut at a random place", UNREAD)
def _cut(spot: Spot) -> None:
    _rewrite(spot, lambda data: data[: spot.chance.randrange(1, max(2, len(data)))])


@operator("last bytes cut", UNREAD)
def _cut_end(spot: Spot) -> None:
    _rewrite(spot, lambda data: data[: -spot.chance.randrange(1, 16)])


@operator("bytes appended", UNREAD)
def _append(spot: Spot) -> None:
    _rewrite(spot, lambda data: data + spot.chance.randbytes(spot.chance.randrange(1, 200)))


@operator("one bit flipped", NO_CHECKSUM)
def _flip(spot: Spot) -> None:
    def change(data: bytes) -> bytes:
        place = spot.chance.randrange(len(data))
        return _overwritten(data, place, bytes([data[place] ^ 1 << spot.chance.randrange(8)]))

    _rewrite(spot, change)


@operator("sixteen bits flipped", NO_CHECKSUM)
def _flip_many(spot: Spot) -> None:
    def change(data: bytes) -> bytes:
        for _ in range(16):
            place = spot.chance.randrange(len(data))
            data = _overwritten(data, place, bytes([data[place] ^ 1 << spot.chance.randrange(8)]))
        return data

    _rewrite(spot, change)


@operator("a page zeroed", NO_CHECKSUM)
def _page(spot: Spot) -> None:
    def change(data: bytes) -> bytes:
        start = spot.chance.randrange(len(data)) // PAGE * PAGE
        return _overwritten(data, start, bytes(min(PAGE, len(data) - start)))

    _rewrite(spot, change)


@operator("the second half zeroed", UNREAD)
def _tail(spot: Spot) -> None:
    _rewrite(spot, lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


@operator("a block of random bytes", NO_CHECKSUM)
def _noise(spot: Spot) -> None:
    def change(data: bytes) -> bytes:
        return _overwritten(data, spot.chance.randrange(len(data)), spot.chance.randbytes(spot.chance.randrange(1, 64)))

    _rewrite(spot, change)


# -- files of another checkpoint --------------------------------------------------------------------------------------


def _differs(spot: Spot) -> None:
    if not spot.other.is_file() or spot.other.read_bytes() == spot.file.read_bytes():
        raise Inapplicable


@operator("file of another checkpoint", "random numbers say nothing of the step that they are of")
def _stale(spot: Spot) -> None:
    _differs(spot)
    shutil.copyfile(spot.other, spot.file)


@operator("file exchanged with that of another checkpoint", "the same, for both files")
def _exchange(spot: Spot) -> None:
    _differs(spot)
    kept = spot.file.read_bytes()
    shutil.copyfile(spot.other, spot.file)
    spot.other.write_bytes(kept)


@operator("content of another file of the checkpoint", UNREAD)
def _sibling(spot: Spot) -> None:
    siblings = [path for path in spot.siblings if path != spot.file and path.is_file()]
    if not siblings:
        raise Inapplicable
    _rewrite(spot, lambda data: spot.chance.choice(siblings).read_bytes())


# -- values in JSON ---------------------------------------------------------------------------------------------------


def _places(value: Any, wanted: type | tuple[type, ...]) -> Iterator[tuple[Any, Any]]:
    """Containers and keys of all values of a type."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(item, wanted) and not isinstance(item, bool):
            yield value, key
        yield from _places(item, wanted)


def _edit_json(spot: Spot, change: Callable[[Any], object]) -> None:
    if spot.file.suffix != ".json":
        raise Inapplicable
    document = json.loads(spot.file.read_text())
    change(document)
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    _rewrite(spot, lambda data: text.encode())


@operator("a number of a JSON file changed", "many numbers of a JSON file are said once")
def _number(spot: Spot) -> None:
    def change(document: Any) -> None:
        places = list(_places(document, (int, float)))
        if not places:
            raise Inapplicable
        container, key = spot.chance.choice(places)
        container[key] = spot.chance.choice((container[key] + 1, container[key] * 2, -1, 0, container[key] - 3))

    _edit_json(spot, change)


@operator("a value of a JSON file of another type", "a value that no rule and no resume asks for")
def _type(spot: Spot) -> None:
    def change(document: Any) -> None:
        places = list(_places(document, (int, float, str, list, dict)))
        container, key = spot.chance.choice(places)
        container[key] = spot.chance.choice((None, [], {}, "text", True, 1e308))

    _edit_json(spot, change)


@operator("a key of a JSON file removed", "a key that no rule and no resume asks for")
def _key(spot: Spot) -> None:
    def change(document: Any) -> None:
        places = [(container, key) for container, key in _places(document, (object,)) if isinstance(container, dict)]
        container, key = spot.chance.choice(places)
        del container[key]

    _edit_json(spot, change)


# -- tensors, saved anew with right checksums -------------------------------------------------------------------------

Tensors = dict[str, FakeTensor]


def _float_places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Dictionaries and lists that hold a tensor of floats with an element, and the key."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(item, FakeTensor) and item.dtype == "F32" and len(item.data) >= 8:
            yield value, key
        elif not isinstance(item, FakeTensor):
            yield from _float_places(item)


def _edit_places(spot: Spot, change: Callable[[list[tuple[Any, Any]]], object]) -> None:
    """Change tensors of a file in place and write it anew."""

    def edit(value: Any) -> None:
        places = list(_float_places(value))
        if not places:
            raise Inapplicable
        change(places)

    if spot.file.suffix == ".safetensors":
        edit_tensors(spot.file, edit)
    elif spot.file.suffix in TORCH:
        edit_torch(spot.file, edit)
    else:
        raise Inapplicable


def _sharded_elements(spot: Spot, change: Callable[[list[float]], list[float]]) -> None:
    """Change one tensor of a sharded state, in the shards of all ranks."""

    def bytewise(data: bytes) -> bytes:
        count = len(data) // 4
        return pack(f"<{count}f", *change(list(unpack(f"<{count}f", data))))

    items = sections(spot.file.parent)[spot.file]
    names = sorted({item.item.name for item in items if item.data is not None and item.data.size >= 8})
    if not names:
        raise Inapplicable
    name = spot.chance.choice(names)
    before = spot.file.read_bytes()
    set_values(spot.file.parent, lambda found: found == name, bytewise)
    if spot.file.read_bytes() == before:
        raise Inapplicable


def _elements(spot: Spot, change: Callable[[list[float]], list[float]]) -> None:
    if spot.file.suffix == ".distcp":
        _sharded_elements(spot, change)
        return

    def one(places: list[tuple[Any, Any]]) -> None:
        container, key = spot.chance.choice(places)
        tensor = container[key]
        count = len(tensor.data) // 4
        values = list(unpack(f"<{count}f", tensor.data))
        data = pack(f"<{count}f", *change(values))
        if data == tensor.data:
            raise Inapplicable
        container[key] = tensor._replace(data=data)

    _edit_places(spot, one)


@operator("two tensors of one shape exchanged", "nothing in a file says which of two equal shapes is which")
def _swap(spot: Spot) -> None:
    def swap(places: list[tuple[Any, Any]]) -> None:
        pairs = [
            (one, two)
            for number, one in enumerate(places)
            for two in places[number + 1 :]
            if one[0][one[1]].shape == two[0][two[1]].shape and one[0][one[1]].data != two[0][two[1]].data
        ]
        if not pairs:
            raise Inapplicable
        (first, key), (second, other) = spot.chance.choice(pairs)
        first[key], second[other] = second[other], first[key]

    _edit_places(spot, swap)


@operator("a tensor scaled", VALUE)
def _scale(spot: Spot) -> None:
    factor = spot.chance.choice((0.5, 2.0, 1.01))
    _elements(spot, lambda values: [value * factor for value in values])


@operator("a tensor times a million", VALUE)
def _explode(spot: Spot) -> None:
    _elements(spot, lambda values: [value * 1e6 for value in values])


@operator("a tensor of zeros", VALUE)
def _zeros(spot: Spot) -> None:
    _elements(spot, lambda values: [0.0] * len(values))


@operator("a NaN in a tensor")
def _nan(spot: Spot) -> None:
    def put(values: list[float]) -> list[float]:
        values[spot.chance.randrange(len(values))] = float("nan")
        return values

    _elements(spot, put)


@operator("a tensor negated", VALUE)
def _negate(spot: Spot) -> None:
    _elements(spot, lambda values: [-value for value in values])


@operator("a tensor missing", "a list of tensors that no table counts")
def _drop(spot: Spot) -> None:
    def drop(places: list[tuple[Any, Any]]) -> None:
        container, key = spot.chance.choice(places)
        del container[key]

    _edit_places(spot, drop)


@operator("a tensor of another shape", "a tensor whose shape is said nowhere else")
def _reshape(spot: Spot) -> None:
    def flatten(places: list[tuple[Any, Any]]) -> None:
        container, key = spot.chance.choice(places)
        tensor = container[key]
        container[key] = tensor._replace(shape=(len(tensor.data) // 4, 1, 1))

    _edit_places(spot, flatten)
