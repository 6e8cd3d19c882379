"""Runs that train an adapter of one kind or another."""

from functools import partial

from tests.backends.hf_trainer.fitting import adapt, fit, gpt2, lora
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
