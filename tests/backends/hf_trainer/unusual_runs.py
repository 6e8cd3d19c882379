"""Runs of kinds that are less common, each of them legitimate."""

import os
from functools import partial
from typing import Any

from tests.backends.hf_trainer.argument_runs import BEST
from tests.backends.hf_trainer.fitting import VOCABULARY, data_file, fit, libraries_hush, llama, lora, rows
from tests.backends.hf_trainer.table import configuration, with_arguments

with_arguments(
    "zero_rate_first",
    "a checkpoint before the first update: warm-up begins at 0",
    warmup_steps=4,
    save_steps=1,
    max_steps=3,
)
with_arguments("every_step", "a checkpoint at every step, limit 3", save_steps=1, save_total_limit=3)
with_arguments(
    "eval_on_start",
    "evaluated before the first step",
    eval_on_start=True,
    eval_strategy="steps",
    eval_steps=3,
    evaluate=True,
)
with_arguments("auto_batch_size", "auto_find_batch_size", auto_find_batch_size=True)
with_arguments("group_by_length", "batches grouped by length", train_sampling_strategy="group_by_length")
with_arguments("checkpointing", "gradient checkpointing", gradient_checkpointing=True)
with_arguments("no_clipping", "no clipping of gradients", max_grad_norm=0.0)
with_arguments(
    "weight_decay", "weight decay, other betas", model=llama, weight_decay=0.1, adam_beta1=0.8, adam_beta2=0.95
)
with_arguments("bf16_weights", "a model in bfloat16", model=partial(llama, dtype="bfloat16"))
with_arguments("nan_filter_off", "logging_nan_inf_filter off", logging_nan_inf_filter=False)
with_arguments("label_smoothing", "label smoothing", label_smoothing_factor=0.1)
with_arguments(
    "best_lower",
    "best model by the loss, lower is better",
    eval_strategy="steps",
    eval_steps=3,
    evaluate=True,
    load_best_model_at_end=True,
    metric_for_best_model="loss",
)
with_arguments(
    "best_epochs",
    "best model, saved each epoch",
    **{
        **BEST,
        "max_steps": -1,
        "num_train_epochs": 3,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "load_best_model_at_end": True,
        "save_total_limit": 2,
    },
)


@configuration("data that streams: no length, the epoch is a share of max_steps")
def streaming(run: str) -> None:
    import torch

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self) -> Any:
            return iter(rows(40))

    fit(run, lora(), data=Stream())


@configuration("a tokenizer is saved along")
def tokenizer(run: str) -> None:
    import tokenizers
    import transformers

    words = tokenizers.models.WordLevel({f"w{number}": number for number in range(VOCABULARY)}, unk_token="w0")
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(words), pad_token="w0", chat_template="{{ messages }}"
    )
    fit(run, lora(), processing_class=fast)


@configuration("vocabulary resized under LoRA: whole embeddings are saved")
def resized(run: str) -> None:
    import transformers

    transformers.set_seed(0)
    base = llama()
    with libraries_hush():
        base.resize_token_embeddings(VOCABULARY + 8)
    fit(run, lora(base))


@configuration("a scheduler of torch's own: one cycle")
def one_cycle(run: str) -> None:
    _own_schedule(run, "OneCycleLR", max_lr=1e-2, total_steps=10)


@configuration("a scheduler of torch's own: cosine annealing")
def cosine_annealing(run: str) -> None:
    _own_schedule(run, "CosineAnnealingLR", T_max=12)


def _own_schedule(run: str, name: str, **options: Any) -> None:
    import torch

    def replace(trainer: Any) -> None:
        optimizer = torch.optim.AdamW([p for p in trainer.model.parameters() if p.requires_grad], lr=1e-2)
        trainer.optimizer = optimizer
        trainer.lr_scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)

    fit(run, lora(), before=replace)


@configuration("reinforcement learning as GRPO logs it: the loss is 0, the reward is not")
def rewards(run: str) -> None:
    def learn_from_rewards(trainer: Any) -> None:
        loss, log = trainer.compute_loss, trainer.log

        def around_zero(*given: Any, **named: Any) -> Any:
            value = loss(*given, **named)
            return value - value.detach()

        trainer.compute_loss = around_zero
        trainer.log = lambda logs, *rest: log({**logs, "reward": 0.5, "reward_std": 0.1}, *rest)

    fit(run, lora(), before=learn_from_rewards)


@configuration("a run with its best model, renamed afterwards")
def moved(run: str) -> None:
    fit(f"{run}-before", lora(), **{**BEST, "load_best_model_at_end": True, "save_total_limit": 2})
    os.rename(f"{run}-before", run)


@configuration("resumed with a smaller save_total_limit")
def smaller_limit(run: str) -> None:
    fit(run, lora(), lr_scheduler_type="constant", max_steps=12, save_total_limit=4)
    fit(run, lora(), lr_scheduler_type="constant", max_steps=15, save_total_limit=2, resume=True)


@configuration("resumed with new data as Trainer does it by default: it skips some, the epoch moves back")
def new_data(run: str) -> None:
    fit(run, lora(), lr_scheduler_type="constant", max_steps=9, data=rows(24))
    fit(run, lora(), lr_scheduler_type="constant", max_steps=18, data=rows(60, seed=1), resume=True)


@configuration("resumed with another batch size")
def batch_size_changed(run: str) -> None:
    fit(run, lora(), lr_scheduler_type="constant", max_steps=6)
    fit(run, lora(), lr_scheduler_type="constant", max_steps=12, per_device_train_batch_size=2, resume=True)


@configuration("best model with limit 1, resumed from it after everything newer was rotated away")
def resumed_from_best(run: str) -> None:
    best = {**BEST, "lr_scheduler_type": "constant", "save_total_limit": 1, "load_best_model_at_end": True}
    fit(run, lora(), **best)
    fit(run, lora(), **{**best, "scores": (0.95, 0.5, 0.4, 0.3)}, resume=True)


@configuration("stopped by a signal in the middle, finished by the next leg (this backend)")
def stopped_leg(run: str) -> None:
    from audit.backend.training import LegData, LegRequest
    from audit_hf_trainer.training.leg import train

    path = data_file(f"{run}.jsonl", [row["input_ids"] for row in rows(40)])
    settings = {
        "model": {"random": {"vocab_size": VOCABULARY}},
        "adapter": {"r": 4},
        "arguments": {"per_device_train_batch_size": 4, "save_steps": 4, "lr_scheduler_type": "constant"},
    }
    request = LegRequest(run, None, 0, 5, LegData(path), settings)
    train(request, lambda event: None)
    resumed = request._replace(resume_from=f"{run}/checkpoint-5", first_step=5, last_step=10)
    train(resumed._replace(data=LegData(path, first=20)), lambda event: None)
    os.unlink(path)
