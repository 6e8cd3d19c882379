"""``audit merge`` against peft: the same bits for every kind of adapter, and the same answers."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from audit.merging.merge import Choices, merge
from tests.backends.hf_trainer.fitting import fit, libraries_hush, llama, lora

pytest.importorskip("peft", reason="the extra hf is not installed")

SHAPE: Mapping[str, Any] = {"hidden_size": 64, "intermediate_size": 96, "tie_word_embeddings": False}
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
KINDS: Mapping[str, Mapping[str, Any]] = {
    "lora": {"target_modules": ALL, "r": 16},
    "rslora": {"target_modules": ALL, "r": 8, "use_rslora": True},
    "patterns": {
        "target_modules": ALL,
        "rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 6},
        "alpha_pattern": {"v_proj": 5, "layers.0.mlp.up_proj": 3},
    },
    "dora": {"target_modules": ALL, "use_dora": True},
    "saved": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens"]},
    "dora with saved": {"target_modules": ["q_proj", "o_proj"], "use_dora": True, "modules_to_save": ["lm_head"]},
    "embedding and head": {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    "a rank of 256": {"target_modules": ["q_proj", "down_proj"], "r": 256, "use_rslora": True},
}
DTYPES = ("float32", "bfloat16", "float16")
EVERYDAY = {("lora", "bfloat16"), ("dora", "float32"), ("embedding and head", "bfloat16"), ("saved", "float32")}


def made(home: Path, dtype: str, adapter: Mapping[str, Any], tied: bool = False, **saving: Any) -> tuple[str, str]:
    """Save a base model, train an adapter for it, and return the run and the base."""
    import torch

    base, run = str(home / "base"), str(home / "run")
    model = llama(**{**SHAPE, "tie_word_embeddings": tied}).to(getattr(torch, dtype))
    with libraries_hush():
        model.save_pretrained(base, **saving)
    model.config._name_or_path = base
    fit(
        run,
        lora(model, **adapter),
        max_steps=2,
        save_steps=2,
        logging_steps=1,
        max_grad_norm=0.0 if dtype == "float16" else 1.0,
    )
    return run, base


def adapted(base: str, run: str, dtype: str = "auto") -> Any:
    """Load the base with the adapter, as peft does."""
    import peft
    import transformers

    with libraries_hush():
        model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
        return peft.PeftModel.from_pretrained(model, os.path.join(run, "checkpoint-2"))


def weights(path: str) -> dict[str, tuple[str, bytes]]:
    """Return the type and the bytes of every tensor of a saved model."""
    import safetensors
    import torch

    found = {}
    for name in sorted(os.listdir(path)):
        if name.endswith(".safetensors"):
            with safetensors.safe_open(os.path.join(path, name), "pt") as file:
                for key in file.keys():  # noqa: SIM118 - a safe_open is no dictionary
                    tensor = file.get_tensor(key)
                    found[key] = (str(tensor.dtype), tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return found


def differing(mine: dict[str, tuple[str, bytes]], other: dict[str, tuple[str, bytes]]) -> list[str]:
    assert mine.keys() == other.keys()
    return [name for name in mine if mine[name] != other[name]]


def answers(model: Any) -> Any:
    import torch

    model.eval()
    with torch.no_grad():
        return model(input_ids=torch.arange(40).reshape(4, 10)).logits.float()


def loaded(path: str, dtype: str = "auto") -> Any:
    import transformers

    with libraries_hush():
        return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        pytest.param(kind, dtype, marks=() if (kind, dtype) in EVERYDAY else pytest.mark.slow)
        for kind in KINDS
        for dtype in DTYPES
    ],
)
def test_it_has_the_bits_of_peft_and_answers_as_the_adapter_does(kind: str, dtype: str, tmp_path: Path) -> None:
    run, base = made(tmp_path, dtype, KINDS[kind])

    found = merge(run, str(tmp_path / "out"), Choices(base=base))

    model = adapted(base, run)
    before = answers(model)
    with libraries_hush():
        model.merge_and_unload().save_pretrained(tmp_path / "peft")
    assert differing(weights(str(tmp_path / "out")), weights(str(tmp_path / "peft"))) == []
    after = answers(loaded(found.path))
    assert after.shape == before.shape
    assert (after - before).abs().max() < {"float32": 2e-5, "float16": 2e-2, "bfloat16": 0.2}[dtype]
    assert found.document["tensors"]["merged"] > 0
    assert all(item["update_ratio"] is None or item["update_ratio"] > 0 for item in found.document["changed"])
