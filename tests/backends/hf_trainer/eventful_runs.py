"""Runs in which something happens on the way: shards, a thaw, overflows, an early stop."""

import itertools
import math
from functools import partial
from typing import Any

from tests.backends.hf_trainer.argument_runs import BEST
from tests.backends.hf_trainer.fitting import fit, llama, lora
from tests.backends.hf_trainer.table import configuration


@configuration("full fine-tune, weights in shards")
def sharded(run: str) -> None:
    model = llama()
    whole = model.save_pretrained
    model.save_pretrained = lambda *given, **named: whole(*given, **{**named, "max_shard_size": "4KB"})
    fit(run, model)


@configuration("stopped early")
def early_stopping(run: str) -> None:
    import transformers

    fit(
        run,
        lora(),
        callbacks=[transformers.EarlyStoppingCallback(2)],
        **{**BEST, "load_best_model_at_end": True, "max_steps": 30},
    )


@configuration("the output layer is frozen for the first steps")
def unfrozen_later(run: str) -> None:
    import transformers

    class Thaw(transformers.TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **unused: Any) -> None:
            model.lm_head.weight.requires_grad_(False)

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **unused: Any) -> None:
            if state.global_step == 4:
                model.lm_head.weight.requires_grad_(True)

    fit(run, llama(), callbacks=[Thaw()])


@configuration("checksums of torch archives switched off")
def no_checksums(run: str) -> None:
    import torch

    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        fit(run, lora())
    finally:
        torch.serialization.set_crc32_options(before)


@configuration("fp16 with a gradient scaler")
def scaler(run: str) -> None:
    fit(run, lora(), before=_emulate_fp16, use_cpu=False)


@configuration("fp16 with overflows, fused optimizer: the schedule advances over skipped steps")
def scaler_overflow_fused(run: str) -> None:
    fit(run, lora(), before=partial(_emulate_fp16, overflows=(1, 5)), use_cpu=False)


@configuration("fp16 with overflows, unfused optimizer: the schedule waits", sample=True)
def scaler_overflow(run: str) -> None:
    fit(run, lora(), before=partial(_emulate_fp16, overflows=(1, 5)), optim="adamw_torch", use_cpu=False)


def _emulate_fp16(trainer: Any, overflows: tuple[int, ...] = ()) -> None:
    """Give a Trainer on the CPU what it has on a GPU in fp16: a gradient scaler, and arguments that say so.

    ``overflows`` are the steps whose gradients overflow.
    """
    import torch

    scaler = torch.amp.GradScaler("cpu")
    trainer.accelerator.scaler = scaler
    trainer.accelerator.unscale_gradients = lambda optimizer=None: scaler.unscale_(trainer.optimizer.optimizer)
    trainer.args.fp16 = True
    trainer.args._n_gpu = 1
    steps = itertools.count(1)
    last = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad][-1]
    last.register_hook(lambda gradient: gradient * (math.inf if next(steps) in overflows else 1.0))
