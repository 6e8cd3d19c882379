"""The tables [model], [adapter] and [arguments] of a first configuration, as text with the meaning of each key."""

LORA = """\

[adapter]  # LoRA: every field of LoraConfig
r = 16  # rank of the adapter: larger learns more and takes more memory
lora_alpha = 32  # scale of the adapter; twice the rank is usual
target_modules = "all-linear"  # layers that get an adapter
# lora_dropout = 0.05  # share of its inputs that is dropped
"""
WHOLE = """\

# [adapter]  # without this table the whole model is trained; with it, LoRA
# r = 16  # rank of the adapter
# target_modules = "all-linear"  # layers that get an adapter
"""
_TABLES = """\
[model]
name_or_path = {model}  # base model: a path, or a name on the Hub
# tokenizer = "org/tokenizer"  # a tokenizer other than the model's
# revision = "main"  # branch, tag or commit on the Hub
# dtype = "bfloat16"  # of the weights; or "auto", "float32", "float16"
# attn_implementation = "sdpa"  # or "flash_attention_2", "eager"
# trust_remote_code = false  # whether code of the model's repository may run
# quantization = {{ load_in_4bit = true }}  # BitsAndBytesConfig
# options = {{ device_map = "auto" }}  # further arguments of from_pretrained
{adapter}
[arguments]  # every field of TrainingArguments that audit train does not set
per_device_train_batch_size = 8  # examples that a device takes at once
gradient_accumulation_steps = 1  # such batches in one step
learning_rate = {rate}  # the same from file to file, or as the schedule says
save_steps = 50  # steps between two checkpoints; each batch ends with one
save_total_limit = 3  # checkpoints that are kept
# logging_steps = 10  # steps between two entries of the log; 1 if not set
# lr_scheduler_type = "constant_with_warmup"  # constant if not set
# warmup_steps = 100  # steps until the learning rate is reached
# weight_decay = 0.01  # pulls weights to 0
# bf16 = true  # compute in bfloat16, on GPUs that can
# gradient_checkpointing = true  # less memory, slower
# eval_strategy = "steps"  # with data.eval: when to evaluate
# eval_steps = 50  # steps between two evaluations
# report_to = "wandb"  # a tracker, for losses and verdicts; none if not set
"""


def starting_tables(model: str, whole_model: bool) -> str:
    """Return the tables; ``model`` is a string of TOML. A whole model is trained with a smaller learning rate."""
    return _TABLES.format(
        model=model,
        adapter=WHOLE if whole_model else LORA,
        rate="2e-5" if whole_model else "1e-4",
    )
