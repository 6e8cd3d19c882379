"""``trainee.py PHASE OUT``, the training script that ckpt-chaos kills: Trainer, a tiny LoRA model, dropout on.

It speaks the protocol of ckpt-chaos's own targets: ``reference`` trains to the end, ``train`` trains to step 10 and is
killed while ``checkpoint-10`` is being saved (``checkpoint-5`` is there), ``resume`` goes on to the end. The
environment variable RESUME_BY says how ``resume`` finds its checkpoint, RESUME_AFTER how many seconds after the kill
that seems to be. SHARDED is ``fsdp``, ``zero2`` or ``zero3`` where the whole model is trained, and its state is saved
in shards.
"""

import importlib.util
import json
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from ckpt_chaos.targets.common import arm_from_env
from ckpt_chaos.targets.hf_trainer import _patch_skip_incomplete
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments, set_seed

import audit

SAVE_STEPS, KILLED_AT, MAX_STEPS = 5, 10, 20
EXAMPLES = [
    {"input_ids": row, "labels": row}
    for row in torch.randint(0, 64, (64, 16), generator=torch.Generator().manual_seed(0))
]


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


class Watch(TrainerCallback):
    """Arms the injector before the save that is to be killed, and notes where training began."""

    def __init__(self, killed_at: int | None = None) -> None:
        self.killed_at = killed_at
        self.began_at: int | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.began_at = state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.killed_at:
            arm_from_env(rank())
            control.should_training_stop = True


@cache
def fsdp() -> dict[str, Any]:
    """What Trainer is given to train with FSDP on the CPU."""
    path = Path(__file__).resolve().parents[1] / "backends" / "hf_trainer" / "fsdp_on_cpu.py"
    spec = importlib.util.spec_from_file_location("fsdp_on_cpu", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.allow_fsdp_on_cpu()
    return dict(module.ARGUMENTS)


def zero(stage: int) -> dict[str, Any]:
    """What Trainer is given to train with DeepSpeed on the CPU."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # only faster, and compiled for minutes
    config = {
        "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0},
        "zero_allow_untested_optimizer": True,
        "train_micro_batch_size_per_gpu": "auto",
        "train_batch_size": "auto",
    }
    return {"deepspeed": config, "ddp_backend": "gloo"}


def trainer_for(out: str, watch: Watch) -> Any:
    set_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            vocab_size=64,
            attention_dropout=0.1,
        )
    )
    sharded = os.environ.get("SHARDED")
    adapted = model if sharded else get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, lora_dropout=0.1))
    arguments = TrainingArguments(
        output_dir=out,
        max_steps=MAX_STEPS,
        save_steps=SAVE_STEPS,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        ddp_timeout=60,
        **(fsdp() if sharded == "fsdp" else zero(int(sharded[-1])) if sharded else {}),
    )
    return Trainer(model=adapted, args=arguments, train_dataset=EXAMPLES, callbacks=[watch])


def resume_point(out: str) -> str | bool | None:
    """What ``resume_from_checkpoint`` is given."""
    how = os.environ["RESUME_BY"]
    if how == "stock":
        return True
    if how == "skip":
        _patch_skip_incomplete()
        return True
    # Rank 0 decides, and all hear the same answer: the run changes while it is looked at.
    answer: list[Any] = [None]
    if rank() == 0:
        age(out, int(os.environ["RESUME_AFTER"]))
        try:
            answer = [audit.guard(out, exact=how == "exact")]
        except audit.ResumeRefused as refusal:
            answer = [refusal]
    broadcast_object_list(answer)
    if isinstance(answer[0], Exception):
        raise answer[0]
    return None if answer[0] is None else os.fspath(answer[0])


def age(out: str, seconds: int) -> None:
    """Make everything older: the guard takes a checkpoint that changed a moment ago for one being written."""
    for folder, names, files in os.walk(out) if seconds else ():
        for name in [*names, *files]:
            path = os.path.join(folder, name)
            times = os.stat(path)
            os.utime(path, ns=(times.st_atime_ns - seconds * 10**9, times.st_mtime_ns - seconds * 10**9))


def resume(out: str) -> str | None:
    """Go on to the end; returns what went wrong."""
    watch = Watch()
    raised, message = None, ""
    try:
        trainer = trainer_for(out, watch)
        trainer.train(resume_from_checkpoint=resume_point(out))
        save_result(trainer, out)
    except Exception as error:  # every way to fail is a result
        raised, message = type(error).__name__, str(error)[:200]
    outcome = {"raised": raised, "message": message, "resumed_from_step": None if raised else watch.began_at}
    Path(out, f"outcome_rank{rank()}.json").write_text(json.dumps(outcome), encoding="utf-8")
    return raised


def whole_parameters(model: Any) -> AbstractContextManager[Any]:
    """Have every rank see the whole parameters, which ZeRO 3 divides."""
    if os.environ.get("SHARDED") != "zero3":
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters(list(model.parameters()))


def save_result(trainer: Any, out: str) -> None:
    with whole_parameters(trainer.model):
        state = trainer.model.state_dict()
        whole = {
            name: item.full_tensor() if hasattr(item, "full_tensor") else item.clone() for name, item in state.items()
        }
    torch.save(whole, os.path.join(out, f"final_rank{rank()}.pt"))


def main(phase: str, out: str) -> int:
    """One process of one phase; returns its exit code."""
    os.makedirs(out, exist_ok=True)
    if phase == "resume":
        return 3 if resume(out) else 0
    trainer = trainer_for(out, Watch(KILLED_AT if phase == "train" else None))
    trainer.train()
    if phase == "reference":
        save_result(trainer, out)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
