"""A tensor in chunks reads as the one that was divided, however it was divided."""

from itertools import product
from math import prod
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.facts.chunks import Assembled
from audit.facts.whole_tensors import Part, WholeTensor
from audit.formats.tensors import Tensor
from audit.manager import load
from audit.storage import BytesReader, RangeReader
from audit.views.comparison import Comparison, compare, open_checkpoint
from audit.views.summary import details
from tests.dcp import MODEL, make_sharded, write_state


@st.composite
def divided(draw: st.DrawFn) -> tuple[bytes, WholeTensor, dict[str, bytes]]:
    """The elements of a tensor of U16, and the same in chunks that a grid of cuts makes."""
    shape = tuple(draw(st.lists(st.integers(1, 5), max_size=4)))
    data = b"".join(number.to_bytes(2, "little") for number in range(prod(shape)))
    edges = [[0, *sorted(draw(st.sets(st.integers(1, size - 1)))), size] if size > 1 else [0, 1] for size in shape]
    parts: list[Part] = []
    files: dict[str, bytes] = {}
    for corner in product(*(range(len(cuts) - 1) for cuts in edges)):
        offsets = tuple(cuts[place] for cuts, place in zip(edges, corner, strict=True))
        ends = tuple(cuts[place + 1] for cuts, place in zip(edges, corner, strict=True))
        sizes = tuple(end - start for start, end in zip(offsets, ends, strict=True))
        kept = b"".join(
            flat(index, shape).to_bytes(2, "little")
            for index in product(*(range(start, end) for start, end in zip(offsets, ends, strict=True)))
        )
        name = f"{len(parts)}"
        files[name] = b"head" + kept
        parts.append(Part(name, name, offsets, Tensor("x", "U16", sizes, 4, len(kept)), True))
    return data, WholeTensor("x", "U16", shape, tuple(parts)), files


def flat(index: tuple[int, ...], shape: tuple[int, ...]) -> int:
    place = 0
    for at, size in zip(index, shape, strict=True):
        place = place * size + at
    return place


def assembled(whole: WholeTensor, files: dict[str, bytes]) -> Assembled:
    def reader_of(path: str) -> RangeReader:
        return BytesReader(files[path])

    return Assembled(whole, reader_of)


@given(divided(), st.data())
def test_any_piece_is_that_of_the_whole_tensor(
    case: tuple[bytes, WholeTensor, dict[str, bytes]], data: st.DataObject
) -> None:
    elements, whole, files = case
    start = data.draw(st.integers(0, len(elements)))
    length = data.draw(st.integers(0, len(elements) + 2))

    assert assembled(whole, files).read(start, length) == elements[start : start + length]


def test_a_tensor_without_one_of_its_chunks_is_not_read() -> None:
    part = Part("a", "a", (0,), Tensor("x", "U16", (2,), 0, 4), True)
    with pytest.raises(OSError, match="not all of its chunks are stored"):
        assembled(WholeTensor("x", "U16", (3,), (part,)), {"a": bytes(4)})


def test_chunks_that_lie_twice_are_not_read() -> None:
    part = Part("a", "a", (0,), Tensor("x", "U16", (2,), 0, 4), True)
    again = part._replace(tensor=part.tensor._replace(shape=(1,)))
    with pytest.raises(OSError, match="overlap"):
        assembled(WholeTensor("x", "U16", (3,), (part, again)), {"a": bytes(4)})


def test_a_chunk_that_two_processes_stored_is_read_once() -> None:
    part = Part("a", "a", (0,), Tensor("x", "U16", (2,), 0, 4), True)
    again = part._replace(path="b")

    assert assembled(WholeTensor("x", "U16", (2,), (part, again)), {"a": b"abcd", "b": b"efgh"}).read(0, 4) == b"abcd"


def compared(a: Path, b: Path) -> Comparison:
    backends = load().backends
    return compare(open_checkpoint(str(a), backends), open_checkpoint(str(b), backends))


def test_two_world_sizes_hold_the_same_tensors(tmp_path: Path) -> None:
    two, four = (make_sharded(tmp_path / str(world), (100,), world=world) for world in (2, 4))

    found = compared(two, four)

    assert (found.tensors, found.same_tensors, found.sharded, found.troubles) == ((), 3, False, ())


def test_a_changed_tensor_is_measured_over_another_division(tmp_path: Path) -> None:
    two, four = (make_sharded(tmp_path / str(world), (100,), world=world) for world in (2, 4))
    write_state(four / "checkpoint-100", 101, world=4)

    different = compared(two, four).tensors

    assert [(item.name, item.elements) for item in different] == [
        ("model.embed.weight", 32),
        ("model.head.weight", 32),
        ("model.layers.0.weight", 16),
    ]
    assert all(item.changed == item.elements and item.max_abs for item in different)


def test_a_shard_that_is_gone_is_a_trouble(tmp_path: Path) -> None:
    run = make_sharded(tmp_path / "run")
    (run / "checkpoint-100" / MODEL / "__1_0.distcp").unlink()

    troubles = compared(run / "checkpoint-100", run / "checkpoint-200").troubles

    assert "model.embed.weight: not all of its chunks are stored; not compared" in troubles


def test_show_says_what_a_sharded_state_is(tmp_path: Path) -> None:
    shown = details(open_checkpoint(str(make_sharded(tmp_path / "run")), load().backends))

    assert shown["optimizer in shards"]["tensors"] == 9
    assert shown["weights in shards"]["processes"] == "at least 2"
    assert (shown["optimizer"]["step"], shown["optimizer"]["learning rate"]) == (200.0, 1e-4)
