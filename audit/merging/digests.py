"""Digests of a safetensors file, of all of it and of each tensor, in one pass."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from audit.errors import AuditError
from audit.formats.tensors import Tensor
from audit.ledger.events import SealedFile
from audit.storage import RangeReader

BLOCK = 4 << 20
"""Bytes that are held at a time."""

Advance = Callable[[int], None]
"""Called with the bytes that were read or written since the last call."""


class Digests(NamedTuple):
    """BLAKE3 digests, hexadecimal: of the ``file`` with its size, and of the bytes of each of its ``tensors``."""

    file: SealedFile
    tensors: Mapping[str, str]


def digests_of(reader: RangeReader, tensors: Iterable[Tensor], advance: Advance) -> Digests:
    """Read a file whose tensors are without gap and in the order of the file. Raises OSError, AuditError."""
    from blake3 import blake3

    whole = blake3()
    found = {}
    at = 0
    for tensor in tensors:
        at = _take(reader, at, tensor.offset, [whole], advance)
        own = blake3()
        at = _take(reader, at, tensor.offset + tensor.nbytes, [whole, own], advance)
        found[tensor.name] = own.hexdigest()
    at = _take(reader, at, reader.size, [whole], advance)
    return Digests(SealedFile(at, whole.hexdigest()), found)


def tensor_digest(reader: RangeReader, tensor: Tensor) -> str:
    """Read one tensor of a file. Raises OSError, AuditError."""
    from blake3 import blake3

    found = blake3()
    _take(reader, tensor.offset, tensor.offset + tensor.nbytes, [found], lambda _: None)
    return found.hexdigest()


def digest_of(reader: RangeReader) -> SealedFile:
    """Read any file. Raises OSError, AuditError."""
    return digests_of(reader, (), lambda _: None).file


def _take(reader: RangeReader, begin: int, end: int, hashes: "list[object]", advance: Advance) -> int:
    while begin < end:
        data = reader.read(begin, min(BLOCK, end - begin))
        if not data:
            raise AuditError("a file became shorter while it was read; try again")
        for digest in hashes:
            digest.update(data)  # type: ignore[attr-defined]
        begin += len(data)
        advance(len(data))
    return begin
