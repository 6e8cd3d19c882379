"""Under which names and which way round the base's files have what an adapter is for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from audit.errors import RefusedError
from audit.merging.adapter import Adapter
from audit.merging.base import Base, read_base
from audit.merging.fitting import fitted
from audit.testing.json_files import safetensors_bytes
from tests.audit.merging.models import tensor
from tests.audit.merging.test_plan import PREFIX, adapter, pair

LAYER = "transformer.h.0.attn"
SHAPES: Mapping[str, tuple[int, int]] = {"c_attn": (8, 24), "c_proj": (8, 8)}


def base(home: Path, prefix: str = "transformer.", kind: str = "gpt2") -> Base:
    """A GPT-2 of one attention, whose weights are in x out, and an output layer."""
    home.mkdir()
    (home / "config.json").write_text(json.dumps({"model_type": kind, "tie_word_embeddings": False}))
    tensors = {f"{prefix}h.0.attn.{name}.weight": tensor(name, *shape) for name, shape in SHAPES.items()}
    (home / "model.safetensors").write_bytes(safetensors_bytes({**tensors, "lm_head.weight": tensor("head", 32, 8)}))
    return read_base(str(home))


def trained(*modules: str, **config: Any) -> Adapter:
    """An adapter for these modules of that GPT-2."""
    shapes = {"c_attn": (24, 8), "c_proj": (8, 8), "lm_head": (32, 8)}
    names = {name: f"{PREFIX}{name if name == 'lm_head' else f'{LAYER}.{name}'}" for name in modules}
    return adapter({k: v for name in modules for k, v in pair(names[name], *shapes[name]).items()}, **config)


def ways(found: Adapter) -> dict[str, bool]:
    return {name: update.transposed for name, update in found.updates.items()}


@pytest.mark.parametrize("said", [True, False])
def test_of_gpt2_the_layer_says_it_and_not_the_configuration(tmp_path: Path, said: bool) -> None:
    found = fitted(trained("c_attn", "c_proj", "lm_head", fan_in_fan_out=said), base(tmp_path / "base"), "x")
    assert ways(found) == {
        f"{LAYER}.c_attn.weight": True,
        f"{LAYER}.c_proj.weight": True,
        "lm_head.weight": False,
    }
    assert found.updates[f"{LAYER}.c_attn.weight"].shape == (8, 24)


def test_of_any_other_model_the_shape_says_it(tmp_path: Path) -> None:
    found = fitted(trained("c_attn", "lm_head", fan_in_fan_out=True), base(tmp_path / "base", kind="mine"), "x")
    assert ways(found) == {f"{LAYER}.c_attn.weight": True, "lm_head.weight": False}


def test_a_square_weight_of_any_other_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"of a mine it is not known whether .*c_proj.weight is stored transposed"):
        fitted(trained("c_proj", fan_in_fan_out=True), base(tmp_path / "base", kind="mine"), "x")


def test_without_the_key_nothing_is_transposed(tmp_path: Path) -> None:
    found = fitted(trained("c_proj"), base(tmp_path / "base", kind="mine"), "x")
    assert ways(found) == {f"{LAYER}.c_proj.weight": False}


def test_dora_on_such_a_layer_is_transposed_with_it(tmp_path: Path) -> None:
    shapes = {**pair(f"{PREFIX}{LAYER}.c_attn", 24, 8), f"{PREFIX}{LAYER}.c_attn.lora_magnitude_vector": (24,)}
    found = fitted(adapter(shapes, use_dora=True), base(tmp_path / "base"), "x")
    assert ways(found) == {f"{LAYER}.c_attn.weight": True}


def test_a_base_without_its_head_has_names_without_the_prefix(tmp_path: Path) -> None:
    found = fitted(trained("c_attn", "lm_head"), base(tmp_path / "base", prefix=""), "x")
    assert ways(found) == {"h.0.attn.c_attn.weight": True, "lm_head.weight": False}


@pytest.mark.parametrize("prefix", ["model.", "transformer.more."])
def test_other_names_stay_as_they_are_and_are_refused_later(tmp_path: Path, prefix: str) -> None:
    found = fitted(trained("c_attn"), base(tmp_path / "base", prefix=prefix), "x")
    assert list(found.updates) == [f"{LAYER}.c_attn.weight"]


def test_where_the_base_has_the_prefix_a_missing_name_is_not_another_one(tmp_path: Path) -> None:
    """With names of both kinds nothing says which tensor is meant."""
    home = tmp_path / "base"
    home.mkdir()
    (home / "config.json").write_text(json.dumps({"model_type": "gpt2", "tie_word_embeddings": False}))
    names = ("h.0.attn.c_attn.weight", "transformer.h.1.attn.c_attn.weight")
    (home / "model.safetensors").write_bytes(safetensors_bytes({name: tensor(name, 8, 24) for name in names}))
    found = fitted(trained("c_attn"), read_base(str(home)), "x")
    assert list(found.updates) == [f"{LAYER}.c_attn.weight"]
