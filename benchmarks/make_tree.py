"""Write a run of LoRA checkpoints of a chosen size, the same bytes for the same arguments.

    python benchmarks/make_tree.py OUT [--checkpoints 3] [--params 400] [--adapter-mb 200] [--log-entries 20000]

Each checkpoint holds an adapter in bfloat16, an AdamW optimizer.pt in float32 (four times the adapter's bytes, three
records a parameter), a trainer_state.json and the small files. The adapter's tensors have the optimizer's shapes, the
losses fall, the learning rate decays linearly, so `audit verify` finds nothing in the tree. Needs torch and
safetensors; training_args.bin is left out where transformers is not installed.
"""

import argparse
import json
import os
import random

import numpy as np
import torch
from safetensors.torch import save_file

RANK = 64
SAVE_STEPS = 100


def write_checkpoint(path: str, step: int, params: int, width: int, horizon: int) -> None:
    """Write one checkpoint whose ``params`` tensors hold RANK * ``width`` values each; one log entry for each step."""
    os.makedirs(path)
    make = torch.Generator().manual_seed(step)
    names = [
        f"base_model.model.model.layers.{i // 2}.self_attn.q_proj.lora_{'AB'[i % 2]}.weight" for i in range(params)
    ]
    shapes = [(RANK, width) if i % 2 == 0 else (width, RANK) for i in range(params)]
    weights = {
        name: torch.randn(shape, generator=make).mul_(0.02).to(torch.bfloat16)
        for name, shape in zip(names, shapes, strict=True)
    }
    save_file(weights, os.path.join(path, "adapter_model.safetensors"), metadata={"format": "pt"})
    del weights
    state = {
        i: {
            "step": torch.tensor(float(step)),
            "exp_avg": torch.randn(shape, generator=make).mul_(1e-4),
            "exp_avg_sq": torch.randn(shape, generator=make).mul_(1e-4).square_(),
        }
        for i, shape in enumerate(shapes)
    }
    rate = learning_rate(step, horizon)
    group = {"lr": rate, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False, "maximize": False}
    group |= {"foreach": None, "capturable": False, "differentiable": False, "fused": None, "initial_lr": 1e-3}
    group |= {"decoupled_weight_decay": True, "params": list(range(params))}
    torch.save({"state": state, "param_groups": [group]}, os.path.join(path, "optimizer.pt"))
    write_small_files(path, step, horizon, rate)


def learning_rate(step: int, horizon: int) -> float:
    return 1e-3 * (1 - step / horizon)


def write_small_files(path: str, step: int, horizon: int, rate: float) -> None:
    """Write the scheduler, the random state, the arguments, the adapter's configuration and the trainer state."""
    scheduler = {"base_lrs": [1e-3], "last_epoch": step, "_step_count": step + 1, "_get_lr_called_within_step": False}
    scheduler |= {"_last_lr": [rate], "lr_lambdas": [None], "_is_initial": False}
    torch.save(scheduler, os.path.join(path, "scheduler.pt"))
    generators = {
        "python": random.Random(step).getstate(),
        "numpy": np.random.RandomState(step).get_state(),
        "cpu": torch.Generator().manual_seed(step).get_state(),
    }
    torch.save(generators, os.path.join(path, "rng_state.pth"))
    try:
        from transformers import TrainingArguments
    except ImportError:
        pass
    else:
        arguments = TrainingArguments(
            output_dir="run", max_steps=horizon, save_steps=SAVE_STEPS, learning_rate=1e-3, report_to=[]
        )
        torch.save(arguments, os.path.join(path, "training_args.bin"))
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK, "target_modules": ["q_proj"], "bias": "none"}
    _write_json(os.path.join(path, "adapter_config.json"), config)
    log = [
        {
            "epoch": entry / 1000,
            "grad_norm": 1.0 + (entry * 7 % 13) / 50,
            "learning_rate": learning_rate(entry, horizon),
            "loss": 2.0 + 1.0 / entry,
            "step": entry,
        }
        for entry in range(1, step + 1)
    ]
    trainer_state: dict[str, object] = {
        "best_global_step": None,
        "best_metric": None,
        "best_model_checkpoint": None,
        "epoch": step / 1000,
        "eval_steps": 500,
        "global_step": step,
        "is_hyper_param_search": False,
        "is_local_process_zero": True,
        "is_world_process_zero": True,
        "log_history": log,
        "logging_steps": 1,
        "max_steps": horizon,
        "num_input_tokens_seen": 0,
        "num_train_epochs": horizon // 1000,
        "save_steps": SAVE_STEPS,
        "stateful_callbacks": {},
        "total_flos": 1e15,
        "train_batch_size": 8,
        "trial_name": None,
        "trial_params": None,
    }
    _write_json(os.path.join(path, "trainer_state.json"), trainer_state)


def _write_json(path: str, value: object) -> None:
    with open(path, "w", encoding="utf-8") as out:
        json.dump(value, out, indent=2, sort_keys=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="write a run of LoRA checkpoints for the benchmarks")
    parser.add_argument("out")
    parser.add_argument("--checkpoints", type=int, default=3)
    parser.add_argument("--params", type=int, default=400, help="tensors of the adapter; optimizer records are thrice")
    parser.add_argument("--adapter-mb", type=float, default=200, help="the optimizer is four times as large")
    parser.add_argument("--log-entries", type=int, default=20000)
    args = parser.parse_args()
    width = max(1, round(args.adapter_mb * 1e6 / 2 / args.params / RANK))
    for i in range(args.checkpoints):
        step = args.log_entries + SAVE_STEPS * i
        path = os.path.join(args.out, f"checkpoint-{step}")
        write_checkpoint(path, step, args.params, width, 2 * args.log_entries)
        print(path, flush=True)


if __name__ == "__main__":
    main()
