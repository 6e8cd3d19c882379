"""Runs of DeepSpeed ZeRO with two ranks, laid out after what DeepSpeed 0.19 wrote; nothing of it is installed.

As Trainer makes them: two parameter groups, with and without weight decay. The second is not a whole number of slices.
"""

import json
import os
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from random import Random
from struct import pack
from typing import Any

from audit.formats.torch_archive import TorchArchive, read_torch
from audit.storage import BytesReader
from audit.testing.runs import edit_torch, make_run
from audit.testing.torch_files import FakeTensor, Made, torch_archive_bytes

GROUPS: tuple[dict[str, tuple[int, ...]], ...] = (
    {"embed.weight": (8, 4), "layers.0.weight": (4, 4), "layers.1.weight": (4, 4), "head.weight": (8, 4)},
    {"layers.0.norm.weight": (3,), "norm.weight": (2,)},
)
SHAPES = {name: shape for group in GROUPS for name, shape in group.items()}
WORLD = 2
MODEL = "mp_rank_00_model_states.pt"
PARTITION = "zero_pp_rank_{}_mp_rank_00_optim_states.pt"


def make_zero(path: str | os.PathLike[str], steps: tuple[int, ...] = (100, 200), lag: int = 0, stage: int = 2) -> Path:
    """Write a sound run; ``lag``: the engine counted so many steps less than the trainer."""
    run = Path(make_run(path, steps, world=WORLD, full=True, deepspeed="ds_config.json"))
    for step in steps:
        place = run / f"checkpoint-{step}"
        rate = _rate(place / "optimizer.pt")
        (place / "optimizer.pt").unlink()
        write_tag(place, step - lag, skipped=lag, stage=stage, rate=rate)
        (place / "latest").write_text(f"global_step{step - lag}")
    return run


def _rate(optimizer: Path) -> float:
    """The learning rate that the schedule is at."""
    archive = read_torch(BytesReader(optimizer.read_bytes()))
    assert isinstance(archive, TorchArchive)
    rate: float = archive.value["param_groups"][0]["lr"]
    return rate


def write_tag(place: Path, step: int, *, skipped: int = 0, stage: int = 2, rate: float = 1e-4) -> None:
    """Write ``global_stepN`` of one checkpoint."""
    folder = place / f"global_step{step}"
    folder.mkdir()
    start, generator = Random(0), Random(step)
    values = {
        name: [
            start.gauss(0, 1e-2) + generator.gauss(0, 1e-4) if place < prod(shape) else generator.gauss(0, 1e-2)
            for place in range(3 * prod(shape))  # training moves weights by small steps; then the moments
        ]
        for shapes in GROUPS
        for name, shape in shapes.items()
    }
    if stage < 3:
        (folder / MODEL).write_bytes(torch_archive_bytes(_engine(values, step, skipped, stage)))
    for rank in range(WORLD):
        if stage == 3:
            (folder / f"zero_pp_rank_{rank}_{MODEL}").write_bytes(
                torch_archive_bytes(_engine(values, step, skipped, stage))
            )
        part = _third(rank, values, step, rate) if stage == 3 else _second(rank, values, step, stage, rate)
        (folder / PARTITION.format(rank)).write_bytes(torch_archive_bytes(part))


def _engine(values: Mapping[str, list[float]], step: int, skipped: int, stage: int) -> dict[str, Any]:
    shapes = [{name: Made("torch.Size", (shape,)) for name, shape in group.items()} for group in GROUPS]
    module = {
        name: _floats([], (0,)) if stage == 3 else _floats(values[name][: prod(shape)], shape)
        for name, shape in SHAPES.items()
    }
    return {
        "module": module, "buffer_names": [], "optimizer": None, "param_shapes": shapes,
        "frozen_param_shapes": {}, "shared_params": {}, "frozen_param_fragments": {}, "lr_scheduler": None,
        "data_sampler": None, "random_ltd": None, "skipped_steps": skipped, "global_steps": step,
        "global_samples": step * 8, "dp_world_size": WORLD, "mp_world_size": 1,
        "ds_config": {"zero_optimization": {"stage": stage}, "bf16": {"enabled": False}}, "ds_version": "0.19.8",
    }  # fmt: skip


def _second(rank: int, values: Mapping[str, list[float]], step: int, stage: int, rate: float) -> dict[str, Any]:
    """A partition of ZeRO 1 or 2: an equal part of each group; the weights without the padding, the moments with it."""
    weights, states, paddings, slices = [], {}, [], []
    for number, shapes in enumerate(GROUPS):
        flat = [[], [], []]  # type: list[list[float]]
        for name, shape in shapes.items():
            for kind in range(3):
                flat[kind] += values[name][kind * prod(shape) : (kind + 1) * prod(shape)]
        size = len(flat[0])
        length = -(-size // (2 * WORLD)) * 2
        first, end = rank * length, min(size, (rank + 1) * length)
        weights.append(_floats(flat[0][first:end]))
        paddings.append(length - (end - first))
        states[number] = _state([values[first:end] + [0.0] * paddings[-1] for values in flat[1:]], step)
        slices.append(
            {
                name: Made("deepspeed.utils.tensor_fragment.fragment_address", (), {"numel": count, "start": start})
                for name, (count, start) in _slices(shapes, first, end).items()
            }
        )
    state = {
        "loss_scaler": Made("deepspeed.runtime.fp16.loss_scaler.LossScaler"), "dynamic_loss_scale": False,
        "overflow": False, "clip_grad": 1.0, "base_optimizer_state": {"state": states, "param_groups": _param_groups(rate)},
        "single_partition_of_fp32_groups": weights,
        "zero_stage": Made("deepspeed.runtime.zero.config.ZeroStageEnum", (stage,)), "group_paddings": paddings,
        "param_alignment_paddings": [[0] * len(shapes) for shapes in GROUPS], "partition_count": [WORLD] * len(GROUPS),
        "ds_version": "0.19.8", "param_slice_mappings": slices,
    }  # fmt: skip
    return {"optimizer_state_dict": state, "ds_config": {}, "ds_version": "0.19.8"}


def _third(rank: int, values: Mapping[str, list[float]], step: int, rate: float) -> dict[str, Any]:
    """A partition of ZeRO 3: an equal part of each parameter, padded; nothing in it says which rank it is of."""
    weights, states = [], {}
    for number, shapes in enumerate(GROUPS):
        flat = [[], [], []]  # type: list[list[float]]
        for name, shape in shapes.items():
            share = -(-prod(shape) // WORLD)
            for kind in range(3):
                own = values[name][kind * prod(shape) : (kind + 1) * prod(shape)][rank * share : (rank + 1) * share]
                flat[kind] += own + [0.0] * (share - len(own))
        weights.append(_floats(flat[0]))
        states[number] = _state(flat[1:], step)
    state = {
        "zero_stage": Made("deepspeed.runtime.zero.config.ZeroStageEnum", (3,)),
        "loss_scaler": Made("deepspeed.runtime.fp16.loss_scaler.LossScaler"), "dynamic_loss_scale": False,
        "overflow": False, "partition_count": WORLD,
        "optimizer_state_dict": {"state": states, "param_groups": _param_groups(rate)}, "fp32_flat_groups": weights,
    }  # fmt: skip
    return {"optimizer_state_dict": state, "ds_config": {}, "ds_version": "0.19.8"}


def _state(moments: list[list[float]], step: int) -> dict[str, FakeTensor]:
    first, second = moments
    return {
        "step": FakeTensor("F32", (), pack("<f", step)),
        "exp_avg": _floats(first),
        "exp_avg_sq": _floats([value * value for value in second]),
    }


def _param_groups(rate: float) -> list[dict[str, Any]]:
    shared = {"lr": rate, "initial_lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
    return [{**shared, "params": [number]} for number in range(len(GROUPS))]


def _slices(shapes: Mapping[str, tuple[int, ...]], first: int, end: int) -> Mapping[str, tuple[int, int]]:
    found, at = {}, 0
    for name, shape in shapes.items():
        begin, stop = max(at, first), min(at + prod(shape), end)
        if begin < stop:
            found[name] = (stop - begin, begin - first)
        at += prod(shape)
    return found


def _floats(values: list[float], shape: tuple[int, ...] | None = None) -> FakeTensor:
    return FakeTensor("F32", shape or (len(values),), pack(f"<{len(values)}f", *values))


def edit_engine(checkpoint: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Rewrite the engine's state in the directory that ``latest`` names."""
    edit_torch(checkpoint / (checkpoint / "latest").read_text() / MODEL, change)


def frozen_slices(checkpoint: Path, parameters: Mapping[str, tuple[tuple[int, ...], list[list[float]]]]) -> None:
    """Write frozen parameters of ZeRO 3: of each its shape, and the slice of each rank."""
    for rank in range(WORLD):
        fields = {
            "frozen_param_shapes": {name: Made("torch.Size", (shape,)) for name, (shape, _) in parameters.items()},
            "frozen_param_fragments": {name: _floats(slices[rank]) for name, (_, slices) in parameters.items()},
        }
        engine = checkpoint / (checkpoint / "latest").read_text() / f"zero_pp_rank_{rank}_{MODEL}"
        edit_torch(engine, lambda value, fields=fields: {**value, **fields})  # type: ignore[misc]


def edit_partition(checkpoint: Path, rank: int, change: Callable[[dict[str, Any]], Any]) -> None:
    """Rewrite ``optimizer_state_dict`` of one rank."""

    def inside(value: dict[str, Any]) -> dict[str, Any]:
        return {**value, "optimizer_state_dict": change(value["optimizer_state_dict"])}

    edit_torch(checkpoint / (checkpoint / "latest").read_text() / PARTITION.format(rank), inside)


def edit_inner(checkpoint: Path, rank: int, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the state of one rank's inner optimizer in its place."""

    def inside(state: dict[str, Any]) -> dict[str, Any]:
        change(state["base_optimizer_state" if "base_optimizer_state" in state else "optimizer_state_dict"])
        return state

    edit_partition(checkpoint, rank, inside)


def own_scheduler(value: dict[str, Any]) -> dict[str, Any]:
    """An engine that keeps the schedule itself."""
    return {**value, "lr_scheduler": {"last_batch_iteration": 1}, "ds_config": json.loads('{"scheduler": {}}')}
