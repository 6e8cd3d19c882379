"""What the calls in a pickle mean, for the few functions that every checkpoint names. Nothing is called."""

from typing import Any

from audit.formats.damage import Kind
from audit.formats.pickle_values import (
    ITEM_SIZES,
    STORAGE_DTYPES,
    TORCH_DTYPES,
    Call,
    Global,
    Refused,
    StorageRef,
    TensorRef,
)
from audit.formats.torch_loader import (
    takes_attributes,
    takes_call,
    takes_gradient,
    takes_hooks,
    takes_key,
    takes_shape,
)
from audit.formats.torch_names import TORCH_NAMES, plain_name

KEY_TYPES = frozenset({str, bytes, int, float, bool, type(None), Global, Call})
_LONGEST_KEY = 64
_DIMENSIONS = 64
_LARGEST = 1 << 62
_FREE_ENTRIES = 1024
_MODULUS = (1 << 61) - 1
"""From this value on the hash of a number is not the number: millions of numbers may have the same hash."""

FREE_UNITS = 6_000_000
"""Units of work that any pickle may take. A unit is about 9 bytes of memory and less than a microsecond: an instruction
is one; what makes a container, calls or keeps something is several. A scheduler takes 100, training arguments 3000."""

UNITS_PER_RECORD = 250
"""Units more for each record: of an optimizer, each tensor has its record and takes some 180 units."""

MOST_UNITS = 20_000_000
"""Units of the largest pickle, at most 180 MB. AdamW over 20 000 parameters (60 000 tensors) takes 11 million, 1 s."""


def over() -> Refused:
    """Return what is raised over the limit."""
    return Refused("has a pickle that takes more memory or time than that of any checkpoint", Kind.OVERSIZED)


class Machine:
    """State of one interpretation; ``work`` counts units towards the ``limit``, beside those of the instructions.

    ``refusal``: why ``torch.load(weights_only=True)`` refuses the pickle, empty if it does not; names are not judged.
    ``typed`` are the lists and dictionaries that are really sets and ordered dictionaries, by their id.
    """

    __slots__ = ("data", "limit", "marks", "memo", "names", "refusal", "stack", "storages", "tensors", "typed", "work")

    def __init__(self, data: bytes, limit: int = FREE_UNITS) -> None:
        self.data = data
        self.limit = limit
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.names: dict[str, Global] = {}
        self.storages: dict[str, StorageRef] = {}
        self.tensors: list[TensorRef] = []
        self.typed: dict[int, Any] = {}
        self.refusal = ""
        self.work = 0

    def charge(self, units: int) -> None:
        """Count work that one instruction does beside itself. Raises Refused over the limit."""
        self.work += units
        if self.work > self.limit:
            raise over()

    def refuse(self, reason: str) -> None:
        """Note why torch refuses to load this, unless there is a reason already."""
        self.refusal = self.refusal or reason


def set_items(machine: Machine, target: Any, items: list[Any]) -> None:
    """Set ``items`` (key, value, key, value ...) in a dictionary or note them on a Call."""
    if type(target) is Call:
        if plain_name(target.function) != "collections.Counter":
            machine.refuse(f"sets items of {target.function}")
        else:
            for key in items[::2]:
                check_key(machine, key)
        target.items.extend(zip(items[::2], items[1::2], strict=False))
        return
    if type(target) is not dict or len(items) % 2:
        raise Refused("is not a valid pickle: it sets items of something that is not a dictionary")
    machine.charge(4 * len(items))
    pairs = iter(items)
    previous: Any = None
    for key in pairs:
        if type(key) is not str:
            # Numbers have predictable hashes: a crafted set of keys makes every insertion walk the whole table.
            # Keys that count up (parameter indices) cannot; the others are charged for the table's size.
            if type(key) is not int or (key != len(target) and previous != key - 1):
                machine.charge(_price(key, len(target)))
                check_key(machine, key)
            previous = key
        target[key] = next(pairs)


def _price(key: Any, size: int) -> int:
    """Units of one key in a dictionary of ``size``: what it costs if it collides with all others."""
    if type(key) in (Call, Global, bytes):  # hashed by identity, or with the secret of this process
        return 1
    if type(key) is tuple:  # each comparison walks over the whole key
        parts = sum(len(part) if type(part) is tuple else 1 for part in key[: _LONGEST_KEY + 1])
        return (1 + parts) * (1 + size // 8)
    return 1 + (size // 64 if size > _FREE_ENTRIES else 0)


def check_key(machine: Machine, key: Any) -> None:
    """Raise Refused unless ``key`` may be hashed: hashing it must not walk an unbounded structure."""
    if type(key) is tuple and len(key) <= _LONGEST_KEY:
        for part in key:
            inside = part if type(part) is tuple and len(part) <= _LONGEST_KEY else (part,)
            if not all(map(_is_plain, inside)):
                break
            for item in inside:
                if type(item) is Call:
                    _refuse_key(machine, item)
        else:
            return
    elif _is_plain(key):
        if type(key) is Call:
            _refuse_key(machine, key)
        return
    raise Refused("is not a valid pickle: a dictionary has a key that is neither text nor a number")


def _refuse_key(machine: Machine, key: Call) -> None:
    if not takes_key(key):
        machine.refuse(f"has {key.function} as the key of a dictionary")


def _is_plain(key: Any) -> bool:
    return -_MODULUS < key < _MODULUS if type(key) is int else type(key) in KEY_TYPES


def persistent(machine: Machine, pid: Any) -> Any:
    """Return the value of a persistent id: a StorageRef for torch's, a Call for any other."""
    if type(pid) is tuple and len(pid) >= 5 and pid[0] == "storage" and type(pid[1]) is Global:
        dtype = STORAGE_DTYPES.get(pid[1].name.rpartition(".")[2])
        if dtype and type(pid[2]) is str and type(pid[4]) is int and 0 <= pid[4] < _LARGEST:
            if len(pid) != 5 or type(pid[3]) is not str:
                machine.refuse("names a storage not as torch does")
            ref = StorageRef(dtype, pid[2], pid[4])
            known = machine.storages.get(pid[2])
            if known is not None and known.numel:
                return known  # torch loads a storage once, as first named
            if known is not None and ref.numel:
                machine.refuse("names one storage with two sizes")
            machine.storages[pid[2]] = ref
            return ref
        raise Refused("is not a valid torch file: a storage of unknown type or size")
    machine.refuse("refers to an object outside the file that is not a storage")
    return Call("persistent_id", (pid,))


def call(machine: Machine, function: Any, args: Any, new: bool = False) -> Any:
    """Return the value of ``function(*args)``, or with ``new`` of ``function.__new__(function, *args)``."""
    if type(args) is not tuple:
        raise Refused("is not a valid pickle: the arguments of a call are not a tuple")
    if type(function) is Global:
        name = function.name
        handler = _HANDLERS.get(name)
        if handler is not None:
            if new and not takes_call(name, args, True):
                machine.refuse(f"makes {name} in a way that torch does not")
            result = handler(machine, args)
            if result is not None:
                return result
        if handler is not None or not takes_call(name, args, new):
            machine.refuse(f"calls {name} with arguments that it does not take")
        return Call(name, args)
    if type(function) is Call:
        machine.refuse(f"calls the result of {function.function}")
        # A method or attribute of another call's result: only the innermost name is known.
        inner = function.function
        return Call(inner if inner.endswith("()") else f"{inner}()", args)
    raise Refused("is not a valid pickle: it calls something that is not a function")


def build(machine: Machine, target: Any, state: Any) -> None:
    """Set ``state`` on the value of a call; containers and tensors ignore it (``_metadata`` of a state dict)."""
    if type(target) is Call:
        name = plain_name(target.function)
        if name in TORCH_NAMES and not (name == "collections.Counter" and type(state) is dict):
            machine.refuse(f"gives attributes to {target.function}")
        target.state = state
    elif type(target) is not dict or id(target) not in machine.typed or type(state) is not dict:
        machine.refuse("gives attributes to an object that has none")


def _tensor(
    machine: Machine, storage: Any, offset: Any, shape: Any, stride: Any, dtype: str | None = None
) -> TensorRef | None:
    if type(storage) is not StorageRef:
        return None  # a storage that is the result of a call stays a Call
    if type(shape) is not tuple or type(stride) is not tuple or len(shape) != len(stride) or len(shape) > _DIMENSIONS:
        raise Refused("is not a valid torch file: the shape of a tensor is not a tuple of numbers")
    for number in (offset, *shape, *stride):
        if type(number) is not int or not 0 <= number < _LARGEST:
            raise Refused("is not a valid torch file: the shape of a tensor is not a tuple of numbers")
    numel = storage.numel
    if dtype is None:
        dtype = storage.dtype
    else:
        numel = numel * ITEM_SIZES[storage.dtype] // ITEM_SIZES[dtype]
    ref = TensorRef(dtype, shape, stride, storage.key, offset, numel)
    if not takes_shape(ref):
        machine.refuse("has a tensor of more elements than can be counted")
    machine.tensors.append(ref)
    return ref


def _rebuild_tensor(machine: Machine, args: tuple[Any, ...]) -> TensorRef | None:
    if len(args) != 4:
        return None
    return _tensor(machine, args[0], args[1], args[2], args[3])


def _rebuild_tensor_v2(machine: Machine, args: tuple[Any, ...]) -> TensorRef | None:
    if len(args) < 4:
        return None
    ref = _tensor(machine, args[0], args[1], args[2], args[3])
    if ref is not None and (
        not 6 <= len(args) <= 7 or not takes_gradient(ref.dtype, args[4]) or not takes_hooks(args[5])
    ):
        machine.refuse("has a tensor that is not written as torch does")
    if len(args) == 7 and not _is_metadata(args[6]):
        machine.refuse("has a tensor that is not written as torch does")
    return ref


def _is_metadata(value: Any) -> bool:
    return value is None or (type(value) is dict and all(type(key) is str for key in value))


def _rebuild_tensor_v3(machine: Machine, args: tuple[Any, ...]) -> TensorRef | None:
    if len(args) < 7 or type(args[6]) is not Global:
        return None
    dtype = TORCH_DTYPES.get(args[6].name.removeprefix("torch."))
    if len(args) > 8 or not takes_gradient(dtype or "", args[4]) or not takes_hooks(args[5]):
        machine.refuse("has a tensor that is not written as torch does")
    return _tensor(machine, args[0], args[1], args[2], args[3], dtype) if dtype else None


def _rebuild_parameter(machine: Machine, args: tuple[Any, ...], count: int = 3) -> Any:
    if not args or type(args[0]) is not TensorRef:
        return None
    if len(args) != count or not takes_gradient(args[0].dtype, args[1]) or not takes_hooks(args[2]):
        machine.refuse("has a parameter that is not written as torch does")
    return args[0]


def _rebuild_parameter_with_state(machine: Machine, args: tuple[Any, ...]) -> Any:
    if len(args) == 4 and not takes_attributes(args[3]):
        machine.refuse("has a parameter that is not written as torch does")
    return _rebuild_parameter(machine, args, 4)


def _rebuild_from_type(machine: Machine, args: tuple[Any, ...]) -> Any:
    # (function, type, arguments, state): a tensor with Python attributes, or a subclass of Tensor.
    if len(args) == 4 and type(args[0]) is Global and type(args[2]) is tuple and args[0].name in _TENSORS:
        if type(args[1]) is not Global or not takes_attributes(args[3]):
            machine.refuse("has a tensor that is not written as torch does")
        return _TENSORS[args[0].name](machine, args[2])
    return None


def _dictionary(machine: Machine, args: tuple[Any, ...]) -> Any:
    if not args:
        made: dict[Any, Any] = {}
        machine.typed[id(made)] = made
        return made
    pairs = args[-1]
    if len(args) != 1 or type(pairs) is not list:
        return None
    machine.charge(4 * len(pairs))
    flat = []
    for pair in pairs:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            return None
        flat += pair
    result: dict[Any, Any] = {}
    set_items(machine, result, flat)
    machine.typed[id(result)] = result
    return result


def _defaultdict(machine: Machine, args: tuple[Any, ...]) -> Any:
    return {} if len(args) <= 1 else None


def _members(machine: Machine, args: tuple[Any, ...]) -> Any:
    if len(args) > 1 or (args and type(args[0]) is not list):
        return None
    machine.charge(2 * len(args[0]) if args else 0)  # a pickle may ask for a million sets of one long list
    members = list(args[0]) if args else []
    for member in members:
        check_key(machine, member)
    machine.typed[id(members)] = members
    return members


def _encode(machine: Machine, args: tuple[Any, ...]) -> Any:
    if len(args) == 2 and type(args[0]) is str and args[1] in ("latin1", "latin-1"):
        machine.charge(len(args[0]) // 4)
        try:
            return args[0].encode("latin-1")
        except UnicodeEncodeError:
            raise Refused("is not a valid pickle: bytes are not written as latin-1") from None
    return None


def _empty_bytes(machine: Machine, args: tuple[Any, ...]) -> Any:
    return b"" if not args else None


def _size(machine: Machine, args: tuple[Any, ...]) -> Any:
    if len(args) != 1 or type(args[0]) is not tuple:
        return None
    if not takes_call("torch.Size", args, False):
        machine.refuse("has a size that is not a tuple of numbers")
    return args[0]


_TENSORS: dict[str, Any] = {
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter_with_state,
}
_HANDLERS: dict[str, Any] = {
    **_TENSORS,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch.Size": _size,
    "collections.OrderedDict": _dictionary,
    "collections.defaultdict": _defaultdict,
    "_codecs.encode": _encode,
    "__builtin__.bytes": _empty_bytes,
    "builtins.bytes": _empty_bytes,
    **{f"{module}.{name}": _members for module in ("builtins", "__builtin__") for name in ("set", "frozenset")},
}
