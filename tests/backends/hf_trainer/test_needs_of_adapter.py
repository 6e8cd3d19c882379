"""An adapter by which nothing would be learned or saved is refused with its key, before weights are loaded."""

from pathlib import Path
from typing import Any

import pytest

from audit.errors import ConfigError
from audit_hf_trainer.training.trial import tried
from tests.backends.hf_trainer.needing import request_of, saved_base

pytest.importorskip("transformers", reason="the extra hf is not installed")
pytest.importorskip("peft", reason="the extra hf is not installed")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved_base(tmp_path_factory.mktemp("model"))


ADAPTERS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "scale": ({"lora_alpha": 0}, {"lora_alpha": 1}, "adapter.lora_alpha: with 0 the adapter adds nothing"),
    "scale, of some": (
        {"lora_alpha": 0, "alpha_pattern": {}},
        {"lora_alpha": 0, "alpha_pattern": {"q_proj": 8}},
        "adapter.lora_alpha: with 0 the adapter adds nothing",
    ),
    "scale, besides": (
        {"lora_alpha": 0, "bias": "all", "modules_to_save": ["lm_head"]},
        {"lora_alpha": -1, "bias": "all"},
        "adapter.lora_alpha: with 0 the adapter adds nothing",
    ),
    "scale of a pattern": (
        {"alpha_pattern": {"q_proj": 0}},
        {"alpha_pattern": {"up_proj": 0}},
        "adapter.alpha_pattern: with 0 for q_proj the adapter adds nothing there, and nothing is learned",
    ),
    "scale, of none": (
        {"lora_alpha": 0, "alpha_pattern": {"up_proj": 8}},
        {"lora_alpha": 0, "alpha_pattern": {".*q_proj": 8}},
        "adapter.lora_alpha: with 0 the adapter adds nothing",
    ),
    "dropout, besides": (
        {"lora_dropout": 1.0, "modules_to_save": ["lm_head"]},
        {"lora_dropout": 1.0, "target_modules": ["embed_tokens"]},
        "adapter.lora_dropout: 1 drops everything",
    ),
    "dropout, of some": (
        {"lora_dropout": 1, "target_modules": ["embed_tokens", "q_proj"]},
        {"lora_dropout": 0.5, "target_modules": ["embed_tokens", "q_proj"]},
        "adapter.lora_dropout: 1 drops everything",
    ),
    "dropout": ({"lora_dropout": 1.5}, {"lora_dropout": 0.9}, "adapter.lora_dropout: 1.5 drops everything"),
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


DROPPED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "attention": ({"target_modules": ["q_proj", "o_proj"]}, {"target_modules": ["q_proj", "up_proj"]}),
}


@pytest.mark.parametrize(("bad", "good"), DROPPED.values(), ids=DROPPED)
def test_a_dropout_of_the_model_may_leave_nothing_of_the_adapter(
    tmp_path: Path, bad: dict[str, Any], good: dict[str, Any]
) -> None:
    model = {"random": {"attention_dropout": 1.0}}

    with pytest.raises(ConfigError, match=r"model\.random\.attention_dropout: .* drops all that the adapter adds"):
        tried(request_of(tmp_path, {}, model=model, adapter={"r": 4, **bad}))
    assert tried(request_of(tmp_path, {}, model=model, adapter={"r": 4, **good})) is None
