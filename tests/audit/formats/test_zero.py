"""The states of DeepSpeed's engine: what was written is read, anything else is a Damage and never a crash."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.formats.damage import Damage
from audit.formats.torch_archive import TorchArchive, read_torch
from audit.formats.zero import Slice, engine_in, partition_in
from audit.storage import BytesReader
from audit.testing.torch_files import torch_archive_bytes
from tests.zero import MODEL, PARTITION, make_zero

JUNK: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 1 << 70) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_zero(tmp_path_factory.mktemp("zero") / "run", (100,), lag=2) / "checkpoint-100" / "global_step98"


def archive(data: bytes) -> TorchArchive:
    found = read_torch(BytesReader(data))
    assert not isinstance(found, Damage)
    return found


def test_what_was_written_is_read(folder: Path) -> None:
    engine = engine_in(archive((folder / MODEL).read_bytes()))
    part = partition_in(archive((folder / PARTITION.format(1)).read_bytes()))

    assert not isinstance(engine, Damage)
    assert (engine.global_steps, engine.skipped_steps, engine.dp_world_size) == (98, 2, 2)
    assert (engine.own_scheduler, engine.empty) == (False, False)
    assert engine.shapes is not None
    assert list(engine.shapes[0].items())[1] == ("layers.0.weight", (4, 4))
    assert not isinstance(part, Damage)
    assert (part.steps, part.lengths, part.counts) == ((98.0, 98.0), (48, 1), (2, 2))
    assert (part.paddings, part.aligned) == ((0, 3), False)
    assert part.slices is not None
    assert part.slices[0] == {"layers.1.weight": Slice(0, 16), "head.weight": Slice(16, 32)}
    assert part.slices[1] == {"norm.weight": Slice(0, 1)}


@given(st.data())
def test_values_of_any_kind_are_an_answer_or_a_damage(folder: Path, data: st.DataObject) -> None:
    engine = archive((folder / MODEL).read_bytes())
    part = archive((folder / PARTITION.format(0)).read_bytes())
    name = data.draw(st.sampled_from(sorted(engine.value)))
    engine_in(engine._replace(value={**engine.value, name: data.draw(JUNK)}))
    state = part.value["optimizer_state_dict"]
    inner = data.draw(st.sampled_from(sorted(state)))
    partition_in(part._replace(value={"optimizer_state_dict": {**state, inner: data.draw(JUNK)}}))


@given(JUNK)
def test_other_files_are_damages(value: Any) -> None:
    found = archive(torch_archive_bytes({"value": value}))

    assert isinstance(engine_in(found), Damage)
    assert isinstance(partition_in(found), Damage)
