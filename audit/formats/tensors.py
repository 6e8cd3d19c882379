"""Where a tensor is in a file."""

from typing import NamedTuple


class Tensor(NamedTuple):
    """One tensor: ``dtype`` in safetensors codes (F32, BF16 ...), ``offset`` and ``nbytes`` in the whole file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int
