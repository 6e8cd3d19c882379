"""What is in a pickle that was read without executing it: names, calls that were not made, tensors."""

from math import prod
from typing import Any, NamedTuple

from audit.formats.damage import Kind

ITEM_SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
    "U16": 2, "U32": 4, "U64": 8, "C32": 4, "C64": 8, "C128": 16, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1,
}  # fmt: skip
"""Bytes of one element by safetensors code."""

STORAGE_DTYPES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL", "ComplexFloatStorage": "C64", "ComplexDoubleStorage": "C128", "UntypedStorage": "U8",
    "QInt8Storage": "I8", "QUInt8Storage": "U8", "QInt32Storage": "I32",
}  # fmt: skip

TORCH_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", "uint16": "U16", "uint32": "U32", "uint64": "U64",
    "complex32": "C32", "complex64": "C64", "complex128": "C128", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0", "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
}  # fmt: skip


class Global(NamedTuple):
    """A class or function that the pickle names, never imported: ``name`` is ``module.qualified_name``."""

    name: str


class StorageRef(NamedTuple):
    """A torch storage beside the pickle: record ``data/{key}`` with ``numel`` elements of ``dtype``."""

    dtype: str
    key: str
    numel: int


class TensorRef(NamedTuple):
    """A tensor whose elements are in the record of ``storage``; ``offset``, ``stride``, ``numel`` count elements.

    ``numel`` belongs to the whole storage, which several tensors may share; ``elements`` is the tensor's own.
    """

    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    storage: str
    offset: int
    numel: int

    @property
    def elements(self) -> int:
        """Number of elements of the tensor."""
        return prod(self.shape)

    @property
    def extent(self) -> int:
        """Elements of the storage that must exist: the index after the tensor's last element."""
        if 0 in self.shape:
            return self.offset
        return self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True)) + 1

    @property
    def in_order(self) -> bool:
        """Whether the elements are stored one after the other, in the order of their indices."""
        return in_order(self.shape, self.stride)


def in_order(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether elements of these strides are one after the other, in the order of their indices."""
    return all(
        mine == usual or size == 1 for mine, usual, size in zip(stride, plain_strides(shape), shape, strict=True)
    )


def plain_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides, in elements, of a tensor whose elements are in the order of their indices."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


class Call:
    """A call in the pickle that was not made: ``function(*args)``, then ``state`` and ``items``.

    ``items`` is what was appended, or pairs that were set. Compares by identity: a pickle may contain cycles.
    """

    __slots__ = ("args", "function", "items", "state")

    def __init__(self, function: str, args: tuple[Any, ...], state: Any = None) -> None:
        self.function = function
        self.args = args
        self.state = state
        self.items: list[Any] = []

    def __repr__(self) -> str:
        return f"<Call {self.function}>"


class Refused(Exception):
    """Only inside the readers, which return a Damage instead."""

    def __init__(self, message: str, kind: Kind = Kind.MALFORMED) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
