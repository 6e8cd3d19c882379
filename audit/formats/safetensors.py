"""Read the header of a safetensors file and check that it describes the whole file, without gap or overlap.

Layout: 8 bytes little-endian header length n, n bytes of JSON, tensor data. The format has no checksum.
"""

from json import JSONDecodeError, loads
from math import prod
from typing import Any, NamedTuple

from audit.formats.damage import Damage, Kind
from audit.formats.intake import placeholder
from audit.formats.json_text import weight
from audit.formats.pickle_values import ITEM_SIZES, Refused
from audit.formats.tensors import Tensor
from audit.storage import RangeReader

MAX_HEADER = 16 << 20
MOST_MEMORY = 128 << 20
"""Bytes, about, while a header is parsed. One of 20 000 tensors (2 MB) takes 20 MB."""
_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}  # packed types of safetensors 0.6 and later
_DIMENSIONS = 64


class Safetensors(NamedTuple):
    """Tensors by name in the order of the file, and the free text beside them (``{"format": "pt"}``)."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


class ShardIndex(NamedTuple):
    """``*.index.json`` of sharded weights: tensor name to file name; ``total_size`` in bytes if it is stated."""

    weight_map: dict[str, str]
    total_size: int | None


def read_safetensors(reader: RangeReader) -> Safetensors | Damage:
    """Read and check a header; the tensors themselves are not read."""
    head = reader.read(0, 64)
    damage = placeholder(head, reader.size)
    if damage:
        return damage
    try:
        return _read(reader, head)
    except Refused as refused:
        return Damage(refused.kind, refused.message)
    except RecursionError:
        return Damage(Kind.MALFORMED, "has a header that is not JSON: it is nested too deeply")
    except JSONDecodeError as error:
        return Damage(Kind.MALFORMED, f"has a header that is not JSON: {error.msg}", 8 + error.pos)
    except UnicodeDecodeError:
        return Damage(Kind.MALFORMED, "has a header that is not UTF-8")
    except ValueError:
        return Damage(Kind.MALFORMED, "has a header with a number of thousands of digits")


def _read(reader: RangeReader, head: bytes) -> Safetensors:
    size = reader.size
    if size < 8:
        raise Refused(f"is truncated: {size} bytes are too few for a safetensors file")
    length = int.from_bytes(head[:8], "little")
    if length > MAX_HEADER:
        if head[8:9] != b"{":
            raise Refused("is not a safetensors file")
        raise Refused(f"declares a header of {length} bytes, more than any real one", Kind.OVERSIZED)
    if head[8:9] != b"{":
        raise Refused("is not a safetensors file")
    if 8 + length > size:
        raise Refused(f"is truncated: {size} of at least {8 + length} bytes")
    raw = reader.read(8, length)
    if len(raw) < length:
        raise Refused("became shorter while it was read")
    if weight(raw) > MOST_MEMORY:
        raise Refused("has a header that would take more memory than any real one", Kind.OVERSIZED)
    header = loads(raw.decode(), object_pairs_hook=_unique)
    metadata = header.pop("__metadata__", None) or {}
    if type(metadata) is not dict or not all(type(value) is str for value in metadata.values()):
        raise Refused("has a header whose metadata is not text")
    found = [_tensor(name, entry, 8 + length) for name, entry in header.items()]
    found.sort(key=_start)
    end = 8 + length
    for tensor in found:
        if tensor.offset != end:
            what = "overlaps the one before it" if tensor.offset < end else "leaves a gap before it"
            raise Refused(
                f"has a header in which tensor {tensor.name} {what}: it begins at byte {tensor.offset}, not {end}"
            )
        end += tensor.nbytes
    if size < end:
        raise Refused(f"is truncated: {size} of {end} bytes")
    if size > end:
        raise Refused(f"has {size - end} bytes after its last tensor: {size} bytes instead of {end}")
    return Safetensors({tensor.name: tensor for tensor in found}, metadata)


def _start(tensor: Tensor) -> tuple[int, int]:
    return tensor.offset, tensor.nbytes


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Refused("has a header that names something twice")
    return result


def _tensor(name: str, entry: Any, base: int) -> Tensor:
    if not name.isprintable():
        raise Refused("has a header in which the name of a tensor cannot be printed")
    if type(entry) is not dict:
        raise Refused(f"has a header in which tensor {name} is not described")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if type(dtype) is not str or (dtype not in ITEM_SIZES and dtype not in _BITS):
        raise Refused(f"has a header in which tensor {name} has the unknown type {str(dtype)[:40]!r}")
    if (
        type(shape) is not list
        or len(shape) > _DIMENSIONS
        or not all(type(n) is int and 0 <= n < 1 << 62 for n in shape)
    ):
        raise Refused(f"has a header in which tensor {name} has no valid shape")
    if type(offsets) is not list or len(offsets) != 2 or not all(type(n) is int for n in offsets):
        raise Refused(f"has a header in which tensor {name} has no valid offsets")
    start, end = offsets
    count = prod(shape)
    expected = count * ITEM_SIZES[dtype] if dtype in ITEM_SIZES else (count * _BITS[dtype] + 7) // 8
    if not 0 <= start <= end < 1 << 62 or end - start != expected:
        raise Refused(
            f"has a header in which tensor {name} of shape {shape} ({dtype}) has {end - start} bytes instead of {expected}"
        )
    return Tensor(name, dtype, tuple(shape), base + start, expected)


def read_index(document: Any) -> ShardIndex | Damage:
    """Check the document of a ``*.index.json``."""
    if type(document) is not dict or type(document.get("weight_map")) is not dict:
        return Damage(Kind.MALFORMED, "has no weight_map")
    weights = document["weight_map"]
    if not all(type(file) is str for file in weights.values()):
        return Damage(Kind.MALFORMED, "has a weight_map in which a tensor has no file name")
    metadata = document.get("metadata")
    total: Any = metadata.get("total_size") if type(metadata) is dict else None
    # Some versions of transformers write the number as a float.
    return ShardIndex(weights, int(total) if type(total) in (int, float) and 0 <= total < 1 << 62 else None)
