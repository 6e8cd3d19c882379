"""Runs that train an adapter of one kind or another."""

from functools import partial
from typing import Any

from tests.backends.hf_trainer.fitting import adapt, fit, gpt2, llama, lora
from tests.backends.hf_trainer.table import configuration, with_arguments

with_arguments("lora", "LoRA, all defaults", sample=True)
with_arguments("lora_dropout", "LoRA with dropout", model=partial(lora, lora_dropout=0.2))
with_arguments("rslora", "rank-stabilised LoRA", model=partial(lora, use_rslora=True))
with_arguments("dora", "DoRA with modules_to_save", model=partial(lora, use_dora=True, modules_to_save=["lm_head"]))
with_arguments("lora_tokens", "LoRA with trainable token indices", model=partial(lora, trainable_token_indices=[1, 5]))
with_arguments(
    "lora_embedding", "LoRA on the embedding", model=partial(lora, target_modules=["embed_tokens", "q_proj"])
)
with_arguments("lora_all_linear", "LoRA on all linear layers", model=partial(lora, target_modules="all-linear"))
with_arguments(
    "lora_regex", "LoRA, targets as a regular expression", model=partial(lora, target_modules=r".*\.(q|k)_proj")
)
with_arguments(
    "lora_patterns",
    "LoRA with rank and alpha patterns",
    model=partial(lora, rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 4}),
)
with_arguments(
    "lora_bias",
    "LoRA on GPT-2 with all biases",
    model=lambda: lora(gpt2(), target_modules=["c_attn"], bias="all", fan_in_fan_out=True),
)


@configuration("two adapters, default and second")
def two_adapters(run: str) -> None:
    import peft

    model = lora()
    model.add_adapter("second", peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    fit(run, model)


@configuration("two adapters, none of the name default")
def named_adapters(run: str) -> None:
    import peft

    config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    model = adapt(config, adapter_name="left")
    model.add_adapter("right", config)
    fit(run, model)


def _compiled(model: Any) -> Any:
    import torch

    return torch.compile(model, backend="eager")


def _layers_compiled() -> Any:
    model = lora()
    layers = model.get_base_model().model.layers
    for place, layer in enumerate(layers):
        layers[place] = _compiled(layer)
    return model


@configuration("LoRA, each layer compiled by itself, resumed", sample=True)
def layers_compiled(run: str) -> None:
    fit(run, _layers_compiled(), max_steps=6, lr_scheduler_type="constant")
    fit(run, _layers_compiled(), max_steps=12, lr_scheduler_type="constant", resume=True)


with_arguments("lora_compiled", "LoRA, compiled by Trainer", torch_compile=True, torch_compile_backend="eager")
with_arguments(
    "lora_on_compiled",
    "LoRA on a compiled model",
    model=lambda: lora(_compiled(llama()), task_type=None),
    remove_unused_columns=False,
)


@configuration("a whole model that was compiled, resumed")
def model_compiled(run: str) -> None:
    same: dict[str, Any] = {"lr_scheduler_type": "constant", "remove_unused_columns": False}
    fit(run, _compiled(llama()), max_steps=6, **same)
    fit(run, _compiled(llama()), max_steps=12, resume=True, **same)


@configuration("IA3")
def ia3(run: str) -> None:
    import peft

    config = peft.IA3Config(
        target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
    )
    fit(run, adapt(config))


@configuration("prompt tuning", sample=True)
def prompt_tuning(run: str) -> None:
    import peft

    fit(run, adapt(peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")))
