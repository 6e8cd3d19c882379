"""A base model for the runs of ``audit.testing``, written without torch, and what is merged into it."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from struct import pack, unpack
from typing import Any

from audit.formats.damage import Damage
from audit.formats.safetensors import read_safetensors
from audit.storage import BytesReader
from audit.testing.json_files import safetensors_bytes
from audit.testing.runs import edit_json, edit_tensors, make_run
from audit.testing.torch_files import FakeTensor

HIDDEN, VOCABULARY, LAYERS = 16, 32, 2
CONFIG: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "dtype": "float32",
    "model_type": "llama",
    "tie_word_embeddings": False,
}


def bytes_of(values: list[float], dtype: str) -> bytes:
    """Little-endian values; BF16 by cutting, so give values that it has."""
    if dtype == "F32":
        return pack(f"<{len(values)}f", *values)
    if dtype == "F16":
        return pack(f"<{len(values)}e", *values)
    return b"".join(pack("<f", value)[2:] for value in values)


def tensor(seed: str, *shape: int, dtype: str = "F32") -> FakeTensor:
    """Random values that every one of the types has."""
    chance = Random(seed)
    count = 1
    for size in shape:
        count *= size
    return FakeTensor(dtype, shape, bytes_of([chance.randrange(-64, 64) / 64 for _ in range(count)], dtype))


def base_tensors(dtype: str = "F32", tied: bool = False) -> dict[str, FakeTensor]:
    """The tensors of a base for the runs of ``make_run``: two layers with four projections and a norm."""
    found = {"model.embed_tokens.weight": tensor("embed", VOCABULARY, HIDDEN, dtype=dtype)}
    if not tied:
        found["lm_head.weight"] = tensor("head", VOCABULARY, HIDDEN, dtype=dtype)
    for layer in range(LAYERS):
        for module in ("q_proj", "k_proj", "v_proj", "o_proj"):
            name = f"model.layers.{layer}.self_attn.{module}.weight"
            found[name] = tensor(name, HIDDEN, HIDDEN, dtype=dtype)
        found[f"model.layers.{layer}.input_layernorm.weight"] = tensor(f"norm{layer}", HIDDEN, dtype=dtype)
    return found


def make_base(path: Path, *, dtype: str = "F32", tied: bool = False, shards: int = 1, **config: Any) -> str:
    """Write a base model; return its path."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({**CONFIG, "tie_word_embeddings": tied, **config}))
    (path / "generation_config.json").write_text("{}")
    (path / "tokenizer.json").write_text('{"base": true}')
    (path / "README.md").write_text("a model card")
    tensors = base_tensors(dtype, tied)
    if shards == 1:
        (path / "model.safetensors").write_bytes(safetensors_bytes(tensors))
        return str(path)
    names = sorted(tensors)
    weight_map = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in names[number::shards]}
        (path / file).write_bytes(safetensors_bytes(part))
        weight_map.update(dict.fromkeys(part, file))
    (path / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map})
    )
    return str(path)


def make_merge(
    home: Path,
    *,
    change: Callable[[dict[str, FakeTensor]], Any] | None = None,
    adapter: Mapping[str, Any] | None = None,
    **base: Any,
) -> tuple[str, str]:
    """Write a run of one checkpoint and a base for it; ``change`` and ``adapter`` change weights and configuration."""
    run = make_run(home / "run", (100,))
    checkpoint = os.path.join(run, "checkpoint-100")
    if change is not None:
        edit_tensors(os.path.join(checkpoint, "adapter_model.safetensors"), change)
    if adapter:
        edit_json(os.path.join(checkpoint, "adapter_config.json"), **adapter)
    return run, make_base(home / "base", **base)


def tensors_in(path: str) -> dict[str, FakeTensor]:
    """All tensors of a model's directory."""
    found = {}
    for name in sorted(os.listdir(path)):
        if name.endswith(".safetensors"):
            reader = BytesReader(Path(path, name).read_bytes())
            file = read_safetensors(reader)
            assert not isinstance(file, Damage)
            for item in file.tensors.values():
                found[item.name] = FakeTensor(item.dtype, item.shape, reader.read(item.offset, item.nbytes))
    return found


def floats(item: FakeTensor) -> list[float]:
    """The values of an F32 tensor."""
    return list(unpack(f"<{len(item.data) // 4}f", item.data))
