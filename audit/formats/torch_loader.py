"""What ``torch.load(weights_only=True)`` accepts, beyond the names of :mod:`audit.formats.torch_names`.

Follows ``torch/_weights_only_unpickler.py`` and ``torch/_utils.py`` of torch 2.13; the two are compared by
tests/audit/formats/test_held_to_torch.py. A call that torch permits by its name still fails with the wrong arguments.
"""

from collections.abc import Callable
from math import prod
from typing import Any

from audit.formats.pickle_values import ITEM_SIZES, Call, Global, TensorRef
from audit.formats.torch_names import TORCH_NAMES, plain_name

KNOWN_INSTRUCTIONS = frozenset(b"GUb\x80\x8a\x8f")
"""Of the instructions of :func:`audit.formats.pickle_opcodes.rare`, those that torch knows, too."""

_DEVICES = frozenset(
    {
        "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla", "lazy",
        "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone", "npu", "mlu", "musa", "gcu",
    }
)  # fmt: skip
"""Device types of torch 2.13, and those of vendors who rename ``privateuseone``."""

_LAYOUTS = frozenset(
    f"torch.{name}"
    for name in ("strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "jagged")
)
_WITH_GRADIENT = frozenset(dtype for dtype in ITEM_SIZES if dtype[0] in "FCB" and dtype != "BOOL")
"""Element types of floating-point and complex numbers: only these can have a gradient."""
_INT64 = 1 << 63
_HASHABLE_CALLS = frozenset({"torch.device", "builtins.complex"})
_EMPTY = frozenset({"collections.OrderedDict", "collections.Counter", "builtins.set"})
_ARITIES = {
    "torch._utils._rebuild_qtensor": (7, 7),
    "torch._utils._rebuild_sparse_tensor": (2, 2),
    "torch._utils._rebuild_meta_tensor_no_storage": (4, 4),
    "torch._utils._rebuild_nested_tensor": (4, 4),
    "torch._utils._rebuild_wrapper_subclass": (7, 10),
    "torch._utils._rebuild_device_tensor_from_numpy": (4, 4),
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": (4, 4),
}
"""Rebuilders of rare tensors (quantised, sparse, nested, of other devices): only the count of arguments is checked."""


def takes_call(name: str, args: tuple[Any, ...], new: bool) -> bool:
    """Whether torch can call the function ``name`` with ``args``, or with ``new`` make an object of the class.

    True for a name that torch does not permit: that is judged elsewhere.
    """
    name = plain_name(name)
    if name not in TORCH_NAMES:
        return True
    if new and name != "torch.nn.parameter.Parameter":
        return (name in _EMPTY and not args) or (name == "torch.Size" and _is_size(args))
    check = _CALLS.get(name)
    if check is not None:
        return check(args)
    least, most = _ARITIES.get(name, (1, 0))
    return least <= len(args) <= most and not all(map(_is_plain, args))


def takes_key(key: Call) -> bool:
    """Whether a Call can be a key: torch's object can be hashed."""
    name = plain_name(key.function)
    return name in _HASHABLE_CALLS or name not in TORCH_NAMES


def takes_gradient(dtype: str, wanted: Any) -> bool:
    """Whether ``wanted`` is a valid ``requires_grad`` of a tensor of this type."""
    return wanted is False or (wanted is True and dtype in _WITH_GRADIENT)


def takes_shape(ref: TensorRef) -> bool:
    """Whether torch can count the elements of such a tensor."""
    return prod(ref.shape) < _INT64


def takes_hooks(hooks: Any) -> bool:
    """Whether ``hooks`` are valid ``_backward_hooks``: hooks are never saved."""
    return hooks is None or type(hooks) is dict


def takes_attributes(state: Any) -> bool:
    """Whether ``state`` are attributes that torch can set on a tensor: ``_set_obj_state``."""
    if type(state) is tuple:
        return len(state) == 2 and all(part is None or (type(part) is dict and _are_names(part)) for part in state)
    return state is None or (type(state) is dict and _are_names(state))


def _are_names(state: dict[Any, Any]) -> bool:
    return all(type(name) is str for name in state)


def _is_plain(value: Any) -> bool:
    return value is None or type(value) in (str, int, float, bool, bytes)


def _is_size(args: tuple[Any, ...]) -> bool:
    return len(args) == 1 and type(args[0]) is tuple and all(type(n) is int and -_INT64 <= n < _INT64 for n in args[0])


def _is_device(args: tuple[Any, ...]) -> bool:
    if not args or type(args[0]) is not str or len(args) > 2:
        return False
    kind, colon, number = args[0].partition(":")
    if len(args) == 2:
        return kind in _DEVICES and not colon and type(args[1]) is int and 0 <= args[1] < 128
    return kind in _DEVICES and (
        number.isdecimal() and int(number) < 128 and str(int(number)) == number if colon else True
    )


def _is_complex(args: tuple[Any, ...]) -> bool:
    return len(args) <= 2 and all(type(part) in (int, float, bool) for part in args)


def _is_bytearray(args: tuple[Any, ...]) -> bool:
    if len(args) == 2:
        return type(args[0]) is str and args[0].isascii() and args[1] in ("latin1", "latin-1")
    return not args or (len(args) == 1 and type(args[0]) is bytes)


def _is_parameter(args: tuple[Any, ...]) -> bool:
    if not 1 <= len(args) <= 2 or type(args[0]) is not TensorRef:
        return False
    return takes_gradient(args[0].dtype, args[1] if len(args) == 2 else True)


def _is_counter(args: tuple[Any, ...]) -> bool:
    return not args or (len(args) == 1 and type(args[0]) is dict)


def _is_layout(args: tuple[Any, ...]) -> bool:
    return len(args) == 1 and type(args[0]) is str and args[0] in _LAYOUTS


def _is_sparse(args: tuple[Any, ...]) -> bool:
    layout = (
        len(args) == 2 and type(args[0]) is Call and plain_name(args[0].function) == "torch.serialization._get_layout"
    )
    return layout and type(args[1]) is tuple


def _is_typed(args: tuple[Any, ...]) -> bool:
    # The function to call, the type of its result, the function's arguments, attributes.
    if len(args) != 4 or type(args[0]) is not Global or type(args[1]) is not Global or type(args[2]) is not tuple:
        return False
    if not plain_name(args[0].name).startswith("torch._utils._rebuild_") and args[0].name in TORCH_NAMES:
        return False
    return takes_call(args[0].name, args[2], False) and takes_attributes(args[3])


_CALLS: dict[str, Callable[[tuple[Any, ...]], bool]] = {
    "torch.Size": _is_size,
    "torch.device": _is_device,
    "torch.nn.parameter.Parameter": _is_parameter,
    "torch.serialization._get_layout": _is_layout,
    "torch._utils._rebuild_sparse_tensor": _is_sparse,
    "torch._tensor._rebuild_from_type_v2": _is_typed,
    "builtins.complex": _is_complex,
    "builtins.bytearray": _is_bytearray,
    "collections.Counter": _is_counter,
}
