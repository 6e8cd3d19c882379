import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.formats.damage import Damage, Kind
from audit.formats.safetensors import Safetensors, ShardIndex, read_index, read_safetensors
from audit.storage import BytesReader
from audit.testing.json_files import safetensors_bytes
from audit.testing.torch_files import FakeTensor
from tests.examples import examples

shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@st.composite
def tensors(draw: Any) -> Any:
    found = {}
    for name in draw(st.lists(st.text("abc._0", min_size=1, max_size=6), unique=True, max_size=5)):
        shape, count = draw(shapes), 1
        for size in shape:
            count *= size
        dtype, width = draw(st.sampled_from([("F32", 4), ("BF16", 2), ("I64", 8), ("BOOL", 1), ("F8_E4M3", 1)]))
        found[name] = FakeTensor(dtype, shape, draw(st.binary(min_size=count * width, max_size=count * width)))
    return found


def damage(data: bytes) -> Damage:
    found = read_safetensors(BytesReader(data))
    assert isinstance(found, Damage), found
    return found


@given(tensors())
@examples(200)
def test_what_was_written_is_read(written: Any) -> None:
    data = safetensors_bytes(written)
    found = read_safetensors(BytesReader(data))
    assert isinstance(found, Safetensors), found
    assert found.metadata == {"format": "pt"}
    assert {
        name: FakeTensor(tensor.dtype, tensor.shape, data[tensor.offset : tensor.offset + tensor.nbytes])
        for name, tensor in found.tensors.items()
    } == written


SOUND = safetensors_bytes({"a": FakeTensor("F32", (2,), bytes(8)), "b": FakeTensor("F32", (3,), bytes(12))})


@given(st.data())
@examples(400)
def test_damaged_bytes_never_raise(data: Any) -> None:
    raw = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    assert isinstance(read_safetensors(BytesReader(bytes(raw))), Safetensors | Damage)


@pytest.mark.parametrize("end", range(len(SOUND)))
def test_a_cut_file_is_damaged(end: Any) -> None:
    assert damage(SOUND[:end]).kind in (Kind.EMPTY, Kind.MALFORMED)


def with_header(header: object, size: int) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(size)


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (SOUND[:-5], Kind.MALFORMED, f"is truncated: {len(SOUND) - 5} of {len(SOUND)} bytes"),
        (SOUND + b"abc", Kind.MALFORMED, "3 bytes after its last tensor"),
        (b"version https://git-lfs.github.com/spec/v1\n", Kind.PLACEHOLDER, "git-lfs"),
        ((1 << 40).to_bytes(8, "little") + b"{}", Kind.OVERSIZED, "declares a header"),
        (bytes(64), Kind.MALFORMED, "is not a safetensors file"),
        (with_header({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, 12), Kind.MALFORMED, "overlaps"),
        (with_header({"a": entry([2], 0, 8), "b": entry([2], 12, 20)}, 20), Kind.MALFORMED, "leaves a gap"),
        (with_header({"a": entry([3], 0, 8)}, 8), Kind.MALFORMED, "has 8 bytes instead of 12"),
        (with_header({"a": entry([-1], 0, 8)}, 8), Kind.MALFORMED, "no valid shape"),
        (with_header({"a": entry([True], 0, 4)}, 4), Kind.MALFORMED, "no valid shape"),
        (with_header({"a": entry([1 << 61] * 60, 0, 4)}, 4), Kind.MALFORMED, "instead of"),
        (with_header({"a": entry([1], 0, 4, "F33")}, 4), Kind.MALFORMED, "unknown type 'F33'"),
        (with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, None]}}, 4), Kind.MALFORMED, "offsets"),
        (with_header({"a": 1}, 4), Kind.MALFORMED, "is not described"),
        (with_header({"a\x1b[2J": entry([1], 0, 4)}, 4), Kind.MALFORMED, "cannot be printed"),
        (with_header({"__metadata__": {"a": 1}}, 0), Kind.MALFORMED, "not text"),
        (with_header(b'{"a": 1, "a": 2}', 0), Kind.MALFORMED, "names something twice"),
        (with_header(b'{"a": ' + b"[" * 200_000, 0), Kind.MALFORMED, "nested too deeply"),
        (with_header(b'{"a": ' + b"9" * 5000 + b"}", 0), Kind.MALFORMED, "thousands of digits"),
        (with_header(b'{"\xff": 1}', 0), Kind.MALFORMED, "not UTF-8"),
        (with_header(b"{,", 0), Kind.MALFORMED, "not JSON"),
    ],
)
def test_each_damage_says_what_it_is(data: Any, kind: Any, words: Any) -> None:
    found = damage(data)
    assert found.kind is kind
    assert words in found.message


def test_an_index_gives_its_weight_map() -> None:
    document: dict[str, Any] = {
        "metadata": {"total_size": 12.0},
        "weight_map": {"a": "model-00001-of-00002.safetensors"},
    }
    assert read_index(document) == ShardIndex(document["weight_map"], 12)


@pytest.mark.parametrize("document", [None, [], {}, {"weight_map": []}, {"weight_map": {"a": 1}}])
def test_an_index_without_a_map_of_names_is_damaged(document: Any) -> None:
    assert isinstance(read_index(document), Damage)
