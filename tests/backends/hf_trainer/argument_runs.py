"""Runs that differ in the model, the schedule, the optimizer, or another training argument."""

from typing import Any

from tests.backends.hf_trainer.fitting import gpt2, llama, mixtral, plain_module, rows
from tests.backends.hf_trainer.table import with_arguments


def _torch(name: str, model: Any, **options: Any) -> Any:
    import torch

    return getattr(torch.optim, name)([p for p in model.parameters() if p.requires_grad], lr=1e-2, **options)


def _loraplus(model: Any) -> Any:
    import torch
    from peft.optimizers import create_loraplus_optimizer

    return create_loraplus_optimizer(model, torch.optim.AdamW, lr=1e-2, loraplus_lr_ratio=4)


with_arguments("full", "full fine-tune", model=llama, sample=True)
with_arguments("tied", "full fine-tune of a tied model", model=gpt2)
with_arguments("moe", "full fine-tune of a mixture of experts", model=mixtral)
with_arguments("plain_module", "a plain torch module", model=plain_module)

SCHEDULES: dict[str, dict[str, Any]] = {
    "cosine": {},
    "cosine_with_restarts": {"lr_scheduler_kwargs": {"num_cycles": 3}},
    "cosine_with_min_lr": {"lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
    "polynomial": {"lr_scheduler_kwargs": {"power": 2.0}},
    "inverse_sqrt": {"warmup_steps": 3},
    "constant": {},
    "constant_with_warmup": {"warmup_steps": 4},
    "warmup_stable_decay": {"warmup_steps": 2, "lr_scheduler_kwargs": {"num_decay_steps": 3}},
}
for schedule, options in SCHEDULES.items():
    with_arguments(f"schedule_{schedule}", f"schedule {schedule}", lr_scheduler_type=schedule, **options)
with_arguments("linear_warmup", "linear schedule with warm-up", warmup_steps=4)
with_arguments(
    "schedule_plateau",
    "schedule reduce_lr_on_plateau",
    lr_scheduler_type="reduce_lr_on_plateau",
    lr_scheduler_kwargs={"patience": 0, "factor": 0.5},
    eval_strategy="steps",
    eval_steps=1,
    metric_for_best_model="score",
    greater_is_better=True,
    scores=(0.1, 0.3, 0.2, 0.2, 0.4, 0.1, 0.5, 0.5, 0.6),
)

for optim in ("adamw_torch", "adafactor", "sgd", "adagrad", "rmsprop"):
    with_arguments(f"optimizer_{optim}", f"optimizer {optim}", optim=optim)
with_arguments(
    "optimizer_amsgrad",
    "AdamW with amsgrad",
    optim="adamw_torch",
    optimizer=lambda model: _torch("AdamW", model, amsgrad=True),
)
with_arguments("optimizer_momentum", "SGD with momentum", optimizer=lambda model: _torch("SGD", model, momentum=0.9))
with_arguments("optimizer_fused_full", "fused AdamW, full model", model=llama, optim="adamw_torch_fused")
with_arguments("optimizer_loraplus", "LoRA+, four groups", optimizer=_loraplus)

with_arguments("accumulation", "gradient accumulation", gradient_accumulation_steps=3, data=rows(32))
for limit in (1, 2, 3):
    with_arguments(
        f"limit_{limit}", f"save_total_limit {limit}", save_total_limit=limit, max_steps=15, sample=limit == 2
    )
BEST: dict[str, Any] = {
    "eval_strategy": "steps",
    "eval_steps": 3,
    "metric_for_best_model": "score",
    "greater_is_better": True,
    "scores": (0.2, 0.9, 0.5, 0.4, 0.3),
    "max_steps": 15,
}
with_arguments("best_limit_1", "best model protected, limit 1", **BEST, save_total_limit=1, load_best_model_at_end=True)
with_arguments(
    "best_limit_2",
    "best model protected, limit 2",
    **BEST,
    save_total_limit=2,
    load_best_model_at_end=True,
    sample=True,
)
with_arguments("best_not_loaded", "best model protected, not loaded at the end", **BEST, save_total_limit=1)
with_arguments("best_strategy", "save_strategy best", **BEST, save_strategy="best")
with_arguments(
    "best_unaligned",
    "evaluations between the saves",
    **{**BEST, "eval_steps": 2, "scores": (0.2, 0.9, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1)},
)
with_arguments("best_full", "best model of a full fine-tune", model=llama, **BEST, load_best_model_at_end=True)
with_arguments("epochs", "saved at the end of each epoch", max_steps=-1, num_train_epochs=3, save_strategy="epoch")
with_arguments(
    "epochs_partial",
    "two and a half epochs",
    max_steps=-1,
    num_train_epochs=2.5,
    save_strategy="epoch",
    eval_strategy="epoch",
    evaluate=True,
)
with_arguments("only_model", "save_only_model", save_only_model=True)
with_arguments("log_first", "logging_first_step", logging_first_step=True, logging_steps=4)
with_arguments("log_epoch", "logged once an epoch", logging_strategy="epoch")
with_arguments("log_off", "no logging", logging_strategy="no")
with_arguments("evaluated", "evaluated at every save", eval_strategy="steps", eval_steps=3, evaluate=True)
with_arguments("token_count", "tokens seen are counted", include_num_input_tokens_seen="all")
with_arguments("save_ratio", "save_steps as a ratio", save_steps=0.25, max_steps=12)
with_arguments("uneven_end", "the last step is no multiple of save_steps", max_steps=10)
with_arguments("bf16", "bf16 autocast", bf16=True)
with_arguments("one_step", "a run of one step", max_steps=1)
with_arguments(
    "long_history", "sixty steps, logged every second one", max_steps=60, save_steps=20, logging_steps=2, data=rows(96)
)
with_arguments("neftune", "noise on the embeddings", neftune_noise_alpha=5)
