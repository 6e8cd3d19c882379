"""The identity of a base model: what changes it, and what does not. Files are made without torch."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from audit.testing.json_files import safetensors_bytes
from audit.testing.torch_files import FakeTensor
from audit_hf_trainer import base
from audit_hf_trainer.base import ROOM, base_identity, largest_checkpoint

TENSORS = {
    "a.weight": FakeTensor("F32", (2, 2), b"\1\2\3\4" * 4),
    "b.weight": FakeTensor("BF16", (4,), b"\1\2" * 4),
}
CONFIG = {"model_type": "llama", "hidden_size": 2, "dtype": "float32", "transformers_version": "5.23.0"}


def made(place: Path, tensors: dict[str, FakeTensor] = TENSORS, config: dict[str, Any] = CONFIG) -> str:
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.json").write_text(json.dumps(config))
    (place / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    return str(place)


def identity(name: str, seed: int = 1, **model: Any) -> dict[str, str]:
    found = dict(base_identity({"model": {"name_or_path": name, **model}}, seed))
    assert found.pop("name", name) == name
    return found


def differing(one: dict[str, str], other: dict[str, str]) -> set[str]:
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


@pytest.fixture
def model(tmp_path: Path) -> str:
    return made(tmp_path / "model")


def test_the_same_model_saved_again_elsewhere_in_shards_by_an_older_transformers_is_the_same(
    tmp_path: Path, model: str
) -> None:
    other = tmp_path / "other"
    made(other, config={**{key: CONFIG[key] for key in ("model_type", "hidden_size")}, "torch_dtype": "float32"})
    (other / "model.safetensors").unlink()
    names = {name: f"model-{number}.safetensors" for number, name in enumerate(TENSORS)}
    for name, file in names.items():
        (other / file).write_bytes(safetensors_bytes({name: TENSORS[name]}))
    (other / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    (other / "README.md").write_text("nothing")

    assert identity(str(other), seed=2) == identity(model)
    assert identity(model)["kind"] == "pretrained"


@pytest.mark.parametrize(
    ("name", "tensor", "changed"),
    [
        ("a.weight", FakeTensor("F32", (2, 2), b"\1\2\3\4" * 3 + b"\1\2\3\5"), {"weights"}),
        ("a.weight", FakeTensor("F32", (4, 1), b"\1\2\3\4" * 4), {"tensors"}),
        ("c.weight", FakeTensor("F32", (1,), b"\1\2\3\4"), {"tensors", "weights"}),
    ],
)
def test_other_tensors_are_another_model(
    tmp_path: Path, model: str, name: str, tensor: FakeTensor, changed: set[str]
) -> None:
    other = made(tmp_path / "other", {**TENSORS, name: tensor})
    assert differing(identity(model), identity(other)) == changed


def test_another_configuration_is_another_model(tmp_path: Path, model: str) -> None:
    other = made(tmp_path / "other", config={**CONFIG, "rope_theta": 1e6})
    assert differing(identity(model), identity(other)) == {"config"}


@pytest.mark.parametrize("setting", [{"dtype": "bfloat16"}, {"quantization": {"load_in_4bit": True}}])
def test_the_type_of_the_numbers_belongs_to_it(model: str, setting: dict[str, Any]) -> None:
    assert differing(identity(model), identity(model, **setting)) == set(setting)


def test_of_a_large_model_the_beginning_of_each_tensor_is_read(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "WHOLE", 8)
    monkeypatch.setattr(base, "LEAST", 4)
    first = made(tmp_path / "first", {**TENSORS, "a.weight": FakeTensor("F32", (2, 2), b"\5\2\3\4" + b"\1\2\3\4" * 3)})
    last = made(tmp_path / "last", {**TENSORS, "a.weight": FakeTensor("F32", (2, 2), b"\1\2\3\4" * 3 + b"\5\2\3\4")})
    assert differing(identity(model), identity(first)) == {"weights"}
    assert not differing(identity(model), identity(last))


def test_files_of_torch_are_compared_by_their_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for place, data in ((one, b"weights"), (other, b"Weights")):
        made(place)
        (place / "model.safetensors").unlink()
        (place / "pytorch_model.bin").write_bytes(data)
    assert differing(identity(str(one)), identity(str(other))) == {"weights"}


def test_random_weights_are_their_fields_and_the_seed() -> None:
    one = base_identity({"model": {"random": {"hidden_size": 16}}}, 1)
    other = base_identity({"model": {"random": {"hidden_size": 32}}}, 2)
    assert differing(dict(one), dict(other)) == {"random.hidden_size", "seed"}
    assert one["random.vocab_size"] == "128"


def test_a_model_of_the_hub_is_looked_for_in_the_cache(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert identity("org/tiny") == {"kind": "pretrained", "dtype": "auto"}

    place, commit = tmp_path / "models--org--tiny", "0123456789abcdef" * 2 + "01234567"
    (place / "snapshots" / commit).mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    for name in os.listdir(model):
        shutil.copy(Path(model, name), place / name)
        (place / "snapshots" / commit / name).symlink_to(place / name)

    assert differing(identity("org/tiny"), identity(model)) == {"commit"}
    assert identity("org/tiny")["commit"] == commit
    assert identity("org/tiny", revision=commit) == identity("org/tiny")
    assert "weights" not in identity("org/tiny", revision="another")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_what_cannot_be_read_is_missing(model: str, name: str) -> None:
    Path(model, name).write_bytes(b"\xff\xfe no")
    assert identity(model)["kind"] == "pretrained"


@pytest.mark.parametrize("adapter", [None, {"r": 16, "target_modules": "all-linear", "modules_to_save": ["lm_head"]}])
def test_no_checkpoint_is_larger_than_the_largest(adapter: dict[str, Any] | None) -> None:
    pytest.importorskip("peft", reason="the extra hf is not installed")
    from audit_hf_trainer.training.sizing import checkpoint_size

    settings: dict[str, Any] = {
        "model": {"random": {"hidden_size": 512, "intermediate_size": 1024, "vocab_size": 30_000}}
    }
    if adapter is not None:
        settings["adapter"] = adapter
    largest, estimated = largest_checkpoint(settings), checkpoint_size(settings)

    assert largest is not None
    assert estimated is not None
    assert estimated.bytes < largest.bytes - ROOM


def test_of_a_model_that_is_not_there_the_largest_checkpoint_is_not_known() -> None:
    assert largest_checkpoint({"model": {"name_or_path": "/nowhere/at/all"}}) is None
    assert largest_checkpoint({"model": {"random": {}, "quantization": {"load_in_4bit": True}}}) is None
