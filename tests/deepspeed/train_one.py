"""Train a tiny model with Trainer and DeepSpeed ZeRO; ``torchrun`` starts one process of it for each rank.

``torchrun --nproc-per-node 2 tests/deepspeed/train_one.py OUTPUT --stage 2``; see ``--help``. It runs on a CPU.
"""

import argparse
import hashlib
import json
import os
import sys
from typing import Any

os.environ.setdefault("DS_ACCELERATOR", "cpu")

import deepspeed
import torch
import transformers
from deepspeed.accelerator import get_accelerator
from transformers.integrations.deepspeed import deepspeed_load_checkpoint

# An operator that is only faster; it would be compiled, which takes minutes.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False

STEPS, SAVE = 20, 5


def ds_config(stage: int, *, gather: bool, scheduler: bool, offset: float | None) -> dict[str, Any]:
    """The configuration as users write it: what Trainer can fill in is ``auto``."""
    zero: dict[str, Any] = {"stage": stage}
    if stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = gather
        zero["stage3_param_persistence_threshold"] = 0
    config: dict[str, Any] = {
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "train_micro_batch_size_per_gpu": "auto",
        "train_batch_size": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
    }
    if offset is not None:  # fp16 begins with a scale that overflows: these steps are skipped
        config["fp16"]["initial_scale_power"] = offset
        config["fp16"]["hysteresis"] = 1
    if scheduler:
        config["scheduler"] = {"type": "WarmupLR", "params": {"warmup_num_steps": 2, "warmup_max_lr": 1e-3}}
    return config


class Rows(torch.utils.data.Dataset[Any]):
    """Random tokens, the same at each call."""

    def __len__(self) -> int:
        return 400

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        ids = torch.randint(0, 50, (8,), generator=generator)
        return {"input_ids": ids, "labels": ids}


class Probes(transformers.TrainerCallback):
    """Before the first step after a resume: loads each checkpoint of a list and writes a digest of what was loaded.

    The digests go to files beside the list, named by the place in it and the rank. Then the process ends.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.trainer: Any = None

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        trainer, engine = self.trainer, self.trainer.deepspeed
        with open(self.path, encoding="utf-8") as file:
            checkpoints = json.load(file)
        for place, checkpoint in enumerate(checkpoints):
            # What Trainer does with DeepSpeed when it resumes: Trainer._prepare_for_training.
            deepspeed_load_checkpoint(engine, checkpoint)
            trainer._load_optimizer_and_scheduler(checkpoint)
            told = hashlib.sha256(repr(engine.global_steps).encode())
            for value in (engine.module.state_dict(), engine.optimizer.state_dict(), trainer.lr_scheduler.state_dict()):
                _feed(told, value)
            with open(f"{self.path}.{place}.{os.environ['RANK']}", "w", encoding="utf-8") as file:
                file.write(told.hexdigest())
            torch.distributed.barrier()
        os._exit(0)


def _feed(told: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        told.update(value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, dict):
        for key in value:
            told.update(str(key).encode())
            _feed(told, value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            _feed(told, item)
    elif isinstance(value, bool | int | float | str):
        told.update(repr(value).encode())


class Dies(transformers.TrainerCallback):
    """Ends the process in the middle of a step, as a kill does."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.at:
            os._exit(9)


def arguments_in(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output")
    parser.add_argument("--stage", type=int, default=2)
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--dtype", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--save", type=int, default=SAVE)
    parser.add_argument("--resume", nargs="?", const=True, default=None)
    parser.add_argument("--die-at", type=int, default=0)
    parser.add_argument("--probe", help="a list of checkpoints to load instead of training")
    parser.add_argument("--gather", action="store_true")
    parser.add_argument("--frozen", action="store_true", help="the first layer is not trained")
    parser.add_argument("--own-scheduler", action="store_true")
    parser.add_argument("--scale-power", type=int, default=None)
    return parser.parse_args(argv)


def make(given: argparse.Namespace) -> Any:
    """Make the trainer, the same at each call."""
    torch.set_num_threads(1)
    if given.dtype == "fp16":  # torch computes it on a CPU; DeepSpeed asks for an accelerator
        get_accelerator().is_fp16_supported = lambda: True
    config = ds_config(given.stage, gather=given.gather, scheduler=given.own_scheduler, offset=given.scale_power)
    arguments = transformers.TrainingArguments(
        output_dir=given.output, max_steps=given.steps, save_steps=given.save, logging_steps=1, learning_rate=1e-3,
        per_device_train_batch_size=2, bf16=given.dtype == "bf16", fp16=given.dtype == "fp16", use_cpu=True,
        weight_decay=0.01, warmup_steps=2, report_to=[], disable_tqdm=True, deepspeed=config, seed=1, ddp_backend="gloo",
    )  # fmt: skip
    torch.manual_seed(0)
    shape = transformers.LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=32, tie_word_embeddings=False,
    )  # fmt: skip
    model: Any = transformers.LlamaForCausalLM(shape)
    if given.frozen:
        model.model.layers[0].requires_grad_(False)
    if given.lora:
        import peft

        model = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    callbacks: list[Any] = [Dies(given.die_at)] if given.die_at else []
    if given.probe:
        callbacks.append(Probes(given.probe))
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=Rows(), callbacks=callbacks)
    for callback in callbacks:
        callback.trainer = trainer
    return trainer


def main(argv: list[str]) -> None:
    """Train, from the newest checkpoint with ``--resume``."""
    given = arguments_in(argv)
    make(given).train(resume_from_checkpoint=given.resume)


if __name__ == "__main__":
    main(sys.argv[1:])
