"""What a model or an adapter needs and does not get is refused with its key, before weights are loaded."""

from pathlib import Path
from typing import Any

import pytest

from audit.errors import ConfigError
from audit_hf_trainer.training.trial import tried
from tests.backends.hf_trainer.fitting import llama
from tests.backends.hf_trainer.needing import refused, request_of, saved_base

transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved_base(tmp_path_factory.mktemp("model"))


OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "attention": (
        {"attn_implementation": "flex_attention"},
        {"attn_implementation": "sdpa"},
        "model.options.attn_implementation: flex_attention cannot be trained on a CPU; use sdpa or eager",
    ),
    "object": ({"generation_config": {}}, {}, "model.options.generation_config: transformers takes an object"),
    "pair": (
        {"output_loading_info": True},
        {"output_loading_info": False},
        "model.options.output_loading_info: with it",
    ),
    "tuple": ({"return_dict": False}, {"return_dict": True}, "model.options.return_dict: "),
    "share": (
        {"attention_dropout": 2.0},
        {"attention_dropout": 1.0},
        "model.options.attention_dropout: 2.0 is not between 0 and 1",
    ),
    "no device": ({"device_map": "gpu"}, {"device_map": "cpu"}, "model.options.device_map: 'gpu' is no device"),
    "device of others": (
        {"device_map": {"": 99}},
        {"device_map": {"": "cpu"}},
        "model.options.device_map: there is no device 99 on this machine",
    ),
    "disk": ({"device_map": {"": "disk"}}, {"device_map": "auto"}, "model.options.device_map: weights on disk cannot"),
    "kind of files": (
        {"use_safetensors": False},
        {"use_safetensors": True},
        "model.options.use_safetensors: ",
    ),
    "variant": ({"variant": "fp16"}, {}, "model.options.variant: "),
}


@pytest.mark.parametrize(("bad", "good", "said"), OPTIONS.values(), ids=OPTIONS)
def test_an_option_that_cannot_work_is_refused_and_its_neighbour_is_not(
    tmp_path: Path, base: str, bad: dict[str, Any], good: dict[str, Any], said: str
) -> None:
    def told(options: dict[str, Any]) -> str:
        return refused(request_of(tmp_path, {}, model={"name_or_path": base, "options": options}))

    assert told(bad).startswith(said)
    assert told(good) == ""


def test_the_attention_is_refused_where_it_is_written(tmp_path: Path, base: str) -> None:
    request = request_of(tmp_path, {}, model={"name_or_path": base, "attn_implementation": "flex_attention"})
    assert refused(request).startswith("model.attn_implementation: flex_attention cannot be trained on a CPU")


def test_the_variant_that_is_there_is_not_refused(tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path / "base", variant="fp16")
    model = {"name_or_path": str(tmp_path / "base"), "options": {"variant": "fp16"}}
    assert refused(request_of(tmp_path, {}, model=model)) == ""


ADAPTERS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "scale": ({"lora_alpha": 0}, {"lora_alpha": 1}, "adapter.lora_alpha: with 0 the adapter adds nothing"),
    "scale, of some": (
        {"lora_alpha": 0, "alpha_pattern": {}},
        {"lora_alpha": 0, "alpha_pattern": {"q_proj": 8}},
        "adapter.lora_alpha: with 0 the adapter adds nothing",
    ),
    "scale, besides": (
        {"lora_alpha": 0, "bias": "none"},
        {"lora_alpha": 0, "bias": "all"},
        "adapter.lora_alpha: with 0 the adapter adds nothing",
    ),
    "dropout, besides": (
        {"lora_dropout": 1.0, "modules_to_save": []},
        {"lora_dropout": 1.0, "modules_to_save": ["lm_head"]},
        "adapter.lora_dropout: 1.0 drops everything",
    ),
    "dropout": ({"lora_dropout": 1.0}, {"lora_dropout": 0.9}, "adapter.lora_dropout: 1.0 drops everything"),
    "token": (
        {"trainable_token_indices": [96]},
        {"trainable_token_indices": [95]},
        "adapter.trainable_token_indices: there is no token 96; the model's vocabulary has 96, from 0",
    ),
    "negative": (
        {"trainable_token_indices": {"embed_tokens": [-1]}},
        {"trainable_token_indices": {"embed_tokens": [0]}},
        "adapter.trainable_token_indices: there is no token -1",
    ),
    "no token": (
        {"trainable_token_indices": []},
        {"trainable_token_indices": {}},
        "adapter.trainable_token_indices: has no token; remove the key",
    ),
    "twice": (
        {"trainable_token_indices": [1], "modules_to_save": ["embed_tokens"]},
        {"trainable_token_indices": [1], "modules_to_save": ["lm_head"]},
        "adapter.trainable_token_indices: modules_to_save trains embed_tokens as a whole",
    ),
    "invocation": (
        {"alora_invocation_tokens": [1, 96]},
        {"alora_invocation_tokens": [1, 95]},
        "adapter.alora_invocation_tokens: there is no token 96",
    ),
    "pattern": ({"target_modules": "("}, {"target_modules": ".*q_proj"}, "adapter: PEFT refuses it: missing )"),
    "no such layer": (
        {"layer_replication": [[0, 9]]},
        {"layer_replication": [[0, 2], [0, 2]]},
        "adapter: PEFT refuses it: ",
    ),
    "no such package": ({"megatron_config": {"a": 1}}, {}, "adapter: PEFT refuses it: No module named"),
    "nothing to save": (
        {"modules_to_save": ["lm_heads"]},
        {"modules_to_save": ["lm_head"]},
        "adapter.modules_to_save: the model has no lm_heads, so nothing of it would be saved",
    ),
    "task": (
        {"task_type": "SEQ_CLS"},
        {"task_type": "CAUSAL_LM"},
        "adapter.task_type: the model has no classifier or score, so nothing of it would be saved",
    ),
}


@pytest.mark.parametrize(("bad", "good", "said"), ADAPTERS.values(), ids=ADAPTERS)
def test_an_adapter_that_cannot_work_is_refused_and_its_neighbour_is_not(
    tmp_path: Path, base: str, bad: dict[str, Any], good: dict[str, Any], said: str
) -> None:
    def told(adapter: dict[str, Any]) -> str:
        adapter = {"r": 4, "target_modules": ["q_proj"], **adapter}
        try:
            return tried(request_of(tmp_path, {}, model={"name_or_path": base}, adapter=adapter)) or ""
        except ConfigError as error:
            return str(error)

    assert told(bad).startswith(said)
    assert told(good) == ""
