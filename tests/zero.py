"""Runs of DeepSpeed ZeRO-2 with two ranks, laid out after what DeepSpeed 0.19 wrote; nothing of it is installed."""

import json
import os
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from random import Random
from struct import pack
from typing import Any

from audit.testing.runs import edit_torch, make_run
from audit.testing.torch_files import FakeTensor, Made, torch_archive_bytes

SHAPES = {"embed.weight": (8, 4), "layers.0.weight": (4, 4), "layers.1.weight": (4, 4), "head.weight": (8, 4)}
WORLD = 2
MODEL = "mp_rank_00_model_states.pt"
PARTITION = "zero_pp_rank_{}_mp_rank_00_optim_states.pt"


def make_zero(path: str | os.PathLike[str], steps: tuple[int, ...] = (100, 200), lag: int = 0) -> Path:
    """Write a sound run; ``lag``: the engine counted so many steps less than the trainer."""
    run = Path(make_run(path, steps, world=WORLD, full=True, deepspeed="ds_config.json"))
    for step in steps:
        place = run / f"checkpoint-{step}"
        (place / "optimizer.pt").unlink()
        write_tag(place, step - lag, skipped=lag)
        (place / "latest").write_text(f"global_step{step - lag}")
    return run


def write_tag(place: Path, step: int, *, skipped: int = 0) -> None:
    """Write ``global_stepN`` of one checkpoint."""
    folder = place / f"global_step{step}"
    folder.mkdir()
    generator = Random(step)
    total = sum(prod(shape) for shape in SHAPES.values())
    flat = [[generator.gauss(0, 1e-2) for _ in range(total)] for _ in range(3)]
    flat[2] = [value * value for value in flat[1]]
    half = total // WORLD
    (folder / MODEL).write_bytes(torch_archive_bytes(_engine(flat[0], step, skipped)))
    for rank in range(WORLD):
        parts = [_floats(values[rank * half : (rank + 1) * half]) for values in flat]
        (folder / PARTITION.format(rank)).write_bytes(torch_archive_bytes(_partition(rank, half, parts, step)))


def _engine(values: list[float], step: int, skipped: int) -> dict[str, Any]:
    module, at = {}, 0
    for name, shape in SHAPES.items():
        module[name] = _floats(values[at : at + prod(shape)], shape)
        at += prod(shape)
    return {
        "module": module, "buffer_names": [], "optimizer": None,
        "param_shapes": [{name: Made("torch.Size", (shape,)) for name, shape in SHAPES.items()}],
        "frozen_param_shapes": {}, "shared_params": {}, "frozen_param_fragments": {}, "lr_scheduler": None,
        "skipped_steps": skipped, "global_steps": step, "global_samples": step * 8, "dp_world_size": WORLD,
        "mp_world_size": 1, "ds_config": {"zero_optimization": {"stage": 2}}, "ds_version": "0.19.8",
    }  # fmt: skip


def _partition(rank: int, half: int, parts: list[FakeTensor], step: int) -> dict[str, Any]:
    weights, moments, squares = parts
    group = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "params": [0]}
    inner = {"step": FakeTensor("F32", (), pack("<f", step)), "exp_avg": moments, "exp_avg_sq": squares}
    state = {
        "loss_scaler": Made("deepspeed.runtime.fp16.loss_scaler.LossScaler"), "dynamic_loss_scale": False,
        "overflow": False, "clip_grad": 1.0, "base_optimizer_state": {"state": {0: inner}, "param_groups": [group]},
        "single_partition_of_fp32_groups": [weights], "group_paddings": [0], "partition_count": [WORLD],
        "zero_stage": Made("deepspeed.runtime.zero.config.ZeroStageEnum", (2,)),
        "param_slice_mappings": [
            {
                name: Made("deepspeed.utils.tensor_fragment.fragment_address", (count, start))
                for name, (count, start) in _slices(rank, half).items()
            }
        ],
    }  # fmt: skip
    return {"optimizer_state_dict": state, "ds_config": {}, "ds_version": "0.19.8"}


def _slices(rank: int, half: int) -> Mapping[str, tuple[int, int]]:
    found, at = {}, 0
    for name, shape in SHAPES.items():
        begin, end = max(at, rank * half), min(at + prod(shape), (rank + 1) * half)
        if begin < end:
            found[name] = (end - begin, begin - rank * half)
        at += prod(shape)
    return found


def _floats(values: list[float], shape: tuple[int, ...] | None = None) -> FakeTensor:
    return FakeTensor("F32", shape or (len(values),), pack(f"<{len(values)}f", *values))


def edit_engine(checkpoint: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Rewrite the engine's state in the directory that ``latest`` names."""
    edit_torch(checkpoint / (checkpoint / "latest").read_text() / MODEL, change)


def edit_partition(checkpoint: Path, rank: int, change: Callable[[dict[str, Any]], Any]) -> None:
    """Rewrite ``optimizer_state_dict`` of one rank."""

    def inside(value: dict[str, Any]) -> dict[str, Any]:
        return {**value, "optimizer_state_dict": change(value["optimizer_state_dict"])}

    edit_torch(checkpoint / (checkpoint / "latest").read_text() / PARTITION.format(rank), inside)


def own_scheduler(value: dict[str, Any]) -> dict[str, Any]:
    """An engine that keeps the schedule itself."""
    return {**value, "lr_scheduler": {"last_batch_iteration": 1}, "ds_config": json.loads('{"scheduler": {}}')}
