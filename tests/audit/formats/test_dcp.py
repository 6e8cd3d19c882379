"""Metadata and shard files of torch.distributed.checkpoint: what torch wrote is read, and damage is never a crash."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.formats.damage import Damage
from audit.formats.dcp import ShardMetadata, faults, read_sections, shard_metadata_in
from audit.formats.pickles import Pickle, load_pickle
from audit.storage import BytesReader
from tests.dcp import MODEL, make_sharded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sharded(tmp_path_factory.mktemp("dcp") / "run", (100,)) / "checkpoint-100" / MODEL


def metadata(data: bytes) -> ShardMetadata | Damage:
    pickle = load_pickle(data)
    return shard_metadata_in(pickle) if isinstance(pickle, Pickle) else pickle


def test_what_torch_saves_is_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    import torch.distributed.checkpoint as dcp

    state: dict[str, Any] = {
        "model": {"a.weight": torch.arange(12, dtype=torch.bfloat16).reshape(3, 4), "b": torch.tensor(2.5)},
        "optimizer": {"param_groups": [{"lr": 0.125, "params": ["a.weight"]}]},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is one process
        dcp.save(state, checkpoint_id=tmp_path / "saved", no_dist=True)

    found = metadata((tmp_path / "saved" / ".metadata").read_bytes())

    assert isinstance(found, ShardMetadata)
    assert (found.entries["model.a.weight"].dtype, found.entries["model.a.weight"].size) == ("BF16", (3, 4))
    assert list(faults(found)) == []
    assert not found.transformed
    (name,) = {item.file for item in found.items}
    data = (tmp_path / "saved" / name).read_bytes()
    sections = {item.key: item for item in read_sections(BytesReader(data), found.items, strict=True)}
    assert sections["model.b"].scalar == 2.5
    assert any(item.value == 0.125 for item in sections.values())
    weight = sections["model.a.weight"].data
    assert weight is not None
    assert data[weight.offset : weight.offset + 4] == bytes([0, 0, 0x80, 0x3F])  # 0 and 1 in bfloat16
    assert sum(item.item.length for item in sections.values()) == len(data)


@given(st.data())
def test_damaged_metadata_is_an_answer_or_a_damage(folder: Path, data: st.DataObject) -> None:
    whole = bytearray((folder / ".metadata").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))

    found = metadata(bytes(whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole))

    if isinstance(found, ShardMetadata):
        list(faults(found))
        read_sections(BytesReader(bytes(300)), found.items, strict=False)


@given(st.data())
def test_a_damaged_shard_is_damaged_items(folder: Path, data: st.DataObject) -> None:
    found = metadata((folder / ".metadata").read_bytes())
    assert isinstance(found, ShardMetadata)
    items = [item for item in found.items if item.file == "__0_0.distcp"]
    whole = bytearray((folder / "__0_0.distcp").read_bytes())
    assert not any(item.damage for item in read_sections(BytesReader(bytes(whole)), items, strict=True))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))

    sections = read_sections(BytesReader(bytes(whole)), items, strict=True)

    assert [item.item for item in sections] == sorted(items, key=lambda item: item.start)
