"""Reading a base model: what it is, where its weights are, and what is refused."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.errors import AuditError, RefusedError
from audit.merging.base import read_base
from tests.audit.merging.models import base_tensors, make_base

INDEX = "model.safetensors.index.json"


def test_one_file_and_shards_hold_the_same_tensors(tmp_path: Path) -> None:
    one, several = read_base(make_base(tmp_path / "one")), read_base(make_base(tmp_path / "several", shards=3))

    assert one.places.keys() == several.places.keys() == base_tensors().keys()
    assert (one.index_text, len(several.shards)) == (None, 3)
    assert several.index_text == (tmp_path / "several" / INDEX).read_bytes()
    shard = one.shards[0]
    assert (tmp_path / "one" / "model.safetensors").read_bytes().startswith(shard.head)
    assert len(shard.head) == shard.tensors[0].offset


def test_a_snapshot_in_the_cache_is_links_to_blobs(tmp_path: Path) -> None:
    model = Path(make_base(tmp_path / "model"))
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    for name in os.listdir(model):
        os.rename(model / name, tmp_path / "blobs" / name)
        os.symlink(f"../blobs/{name}", tmp_path / "snapshot" / name)

    assert read_base(str(tmp_path / "snapshot")).places.keys() == base_tensors().keys()


@pytest.mark.parametrize(
    ("config", "tied", "said"),
    [
        ({"tie_word_embeddings": True}, False, True),
        ({"tie_word_embeddings": False}, True, False),
        ({"tie_word_embeddings": None, "text_config": {"tie_word_embeddings": True}}, False, True),
        ({"tie_word_embeddings": None}, False, False),
        ({"tie_word_embeddings": None}, True, True),
    ],
)
def test_whether_it_is_tied_is_said_by_its_configuration_or_its_tensors(
    config: dict[str, object], tied: bool, said: bool, tmp_path: Path
) -> None:
    assert read_base(make_base(tmp_path / "base", tied=tied)).tied == tied
    path = make_base(tmp_path / "other", tied=tied)
    place = Path(path, "config.json")
    place.write_text(json.dumps({**json.loads(place.read_text()), **config}))
    assert read_base(path).tied == said


def _pickled(path: Path) -> None:
    os.rename(path / "model.safetensors", path / "pytorch_model.bin")


def _cut(path: Path) -> None:
    os.truncate(path / "model.safetensors", 1000)


def _index(path: Path, **entries: str) -> None:
    os.rename(path / "model.safetensors", path / "a.safetensors")
    weights = dict.fromkeys(base_tensors(), "a.safetensors")
    (path / INDEX).write_text(json.dumps({"weight_map": {**weights, **entries}}))


@pytest.mark.parametrize(
    ("damage", "kind", "said"),
    [
        (lambda path: (path / "config.json").unlink(), AuditError, "config.json: cannot be read"),
        (lambda path: (path / "config.json").write_text("["), AuditError, "config.json: is "),
        (lambda path: (path / "config.json").write_text("[]"), AuditError, "is not a JSON object"),
        (lambda path: (path / "model.safetensors").unlink(), AuditError, "is this the base model?"),
        (_pickled, RefusedError, "has its weights as pickles only"),
        (_cut, AuditError, "model.safetensors: is truncated"),
        (lambda path: _index(path, x="../a.safetensors"), AuditError, "names files outside"),
        (lambda path: _index(path, x="a.safetensors"), AuditError, "does not name the tensors of its files"),
        (lambda path: _index(path, x="b.safetensors"), AuditError, "b.safetensors: cannot be read"),
        (
            lambda path: (path / "config.json").write_text('{"quantization_config": {"a": 1}}'),
            RefusedError,
            "quantised",
        ),
    ],
)
def test_what_is_no_base_is_one_line(
    damage: Callable[[Path], object], kind: type[AuditError], said: str, tmp_path: Path
) -> None:
    path = Path(make_base(tmp_path / "base"))
    damage(path)
    with pytest.raises(kind, match=re.escape(said)):
        read_base(str(path))


def test_the_same_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    path = Path(make_base(tmp_path / "base", shards=2))
    first, second = (path / f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    second.write_bytes(first.read_bytes())
    with pytest.raises(AuditError, match="both hold"):
        read_base(str(path))


def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    path = Path(make_base(tmp_path / "base"))
    (path / "model.safetensors").unlink()
    os.mkfifo(path / "model.safetensors")
    with pytest.raises(AuditError, match="cannot be read"):
        read_base(str(path))


def test_a_directory_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="is not the directory of a model"):
        read_base(str(tmp_path / "nowhere"))
