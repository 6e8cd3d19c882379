"""Runs of PyTorch Lightning, laid out after what ``ModelCheckpoint`` of lightning 2.6 wrote; it is not installed."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from struct import pack
from typing import Any

from audit.testing.run_files import Plan, floats, random_of
from audit.testing.runs import edit_torch
from audit.testing.torch_files import FakeTensor, Made, torch_archive_bytes
from tests.dcp import write_shards
from tests.zero import MODEL, write_tag

SHAPES = {"net.0.weight": (16, 8), "net.0.bias": (16,), "net.2.weight": (1, 16), "net.2.bias": (1,)}
PLAN = Plan("", 4, 1, 60, 10, 5, "linear", 1e-2, None, False, 1, True, False, 42)
PER_EPOCH = 10
TAG = "checkpoint"


def make_lightning(
    path: str | os.PathLike[str],
    steps: tuple[int, ...] = (10, 20, 30),
    *,
    interval: str = "step",
    last: bool = True,
    name: str = "epoch={epoch}-step={step}.ckpt",
) -> Path:
    """Write a sound run and return its path; the schedule is moved with each ``interval``: step or epoch.

    ``last``: there is a ``last.ckpt``, too, a copy of the newest.
    """
    run = Path(path)
    run.mkdir(parents=True)
    for step in steps:
        epoch = (step - 1) // PER_EPOCH
        data = torch_archive_bytes(values(step, epoch, interval))
        (run / name.format(epoch=epoch, step=step)).write_bytes(data)
        if last:
            (run / "last.ckpt").write_bytes(data)
    return run


def make_directories(
    path: str | os.PathLike[str], steps: tuple[int, ...] = (10, 20, 30), *, last: bool = True, strategy: str = "fsdp"
) -> Path:
    """Write a sound run of a strategy that saves shards: ``fsdp``, ``model_parallel``, or ``deepspeed`` (ZeRO 2)."""
    run = Path(path)
    for step in steps:
        for name in (f"epoch={(step - 1) // PER_EPOCH}-step={step}.ckpt", *(["last.ckpt"] if last else [])):
            shutil.rmtree(run / name, ignore_errors=True)
            (run / name).mkdir(parents=True)
            if strategy == "deepspeed":
                write_engine(run / name, step)
            else:
                write_directory(run / name, step, strategy)
    return run


def rest(step: int) -> dict[str, Any]:
    """What is saved beside weights and optimizers: the dictionary in ``meta.pt``, the client state of DeepSpeed."""
    found = values(step, (step - 1) // PER_EPOCH)
    return {key: value for key, value in found.items() if key not in ("state_dict", "optimizer_states")}


def write_directory(place: Path, step: int, strategy: str = "fsdp") -> None:
    """Write one directory: FSDP calls the weights ``model``, ModelParallel ``state_dict``."""
    found = values(step, (step - 1) // PER_EPOCH)
    names = list(SHAPES)
    prefix = "model" if strategy == "fsdp" else "state_dict"
    shards: dict[str, Any] = {f"{prefix}.{name}": value for name, value in found["state_dict"].items()}
    (optimizer,) = found["optimizer_states"]
    for index, state in optimizer["state"].items():
        shards |= {f"optimizer_0.state.{names[index]}.{key}": value for key, value in state.items()}
    for key, value in {**optimizer["param_groups"][0], "params": names}.items():
        shards[f"optimizer_0.param_groups.0.{key}"] = value
    write_shards(place, shards, None, 1)
    (place / "meta.pt").write_bytes(torch_archive_bytes(rest(step)))


def write_engine(place: Path, step: int) -> None:
    """Write one directory of DeepSpeed's engine under the tag that Lightning gives it."""
    beside = rest(step)
    (schedule,) = beside["lr_schedulers"]
    for key in ("base_lrs", "_last_lr", "lr_lambdas"):  # ZeRO's optimizer has two groups
        schedule[key] = schedule[key] * 2
    write_tag(place, step, rate=schedule["_last_lr"][0])
    (place / f"global_step{step}").rename(place / TAG)
    edit_torch(place / TAG / MODEL, lambda found: {**found, **beside})
    (place / "latest").write_text(TAG)


def values(step: int, epoch: int, interval: str = "step") -> dict[str, Any]:
    """What ``Trainer.save_checkpoint`` saves after a step; the hyper-parameters are of the user's own class."""
    at = step if interval == "step" else epoch + 1
    rate = 1e-2 / (1 + at / 50)
    state = {
        index: {
            "step": FakeTensor("F32", (), _float(step)),
            "exp_avg": floats(random_of(PLAN, "m", step, index), shape, 1e-3),
            "exp_avg_sq": floats(random_of(PLAN, "v", step, index), shape, 1e-3, positive=True),
        }
        for index, shape in enumerate(SHAPES.values())
    }
    group = {"lr": rate, "betas": (0.9, 0.999), "eps": 1e-08, "weight_decay": 0.01, "amsgrad": False}
    return {
        "epoch": epoch,
        "global_step": step,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {name: floats(random_of(PLAN, "w", step, name), shape, 0.2) for name, shape in SHAPES.items()},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"completed": epoch}}}},
        "callbacks": {"ModelCheckpoint": {"monitor": None, "dirpath": "checkpoints"}},
        "optimizer_states": [{"state": state, "param_groups": [{**group, "initial_lr": 1e-2, "params": [0, 1, 2, 3]}]}],
        "lr_schedulers": [
            {"base_lrs": [1e-2], "last_epoch": at, "_step_count": at + 1, "_last_lr": [rate], "lr_lambdas": [None]}
        ],
        "hparams_name": "kwargs",
        "hyper_parameters": {"conf": Made("__main__.Conf", (), {"width": 8}), "lr": 1e-2},
    }


def edit(path: Path, **changes: Any) -> None:
    """Write a file anew with other values."""
    edit_torch(path, lambda found: {**found, **changes})


def taken_from(path: Path, other: Path, key: str) -> None:
    """Put what is under a key of another file into this one."""
    held: list[Any] = []
    edit_torch(other, lambda found: held.append(found[key]))
    edit(path, **{key: held[0]})


def with_nan(found: dict[str, Any]) -> Mapping[str, Any]:
    """Put a NaN into the first weight."""
    weights = dict(found["state_dict"])
    first = next(iter(weights))
    weights[first] = weights[first]._replace(data=_float(float("nan")) + weights[first].data[4:])
    return {**found, "state_dict": weights}


def _float(value: float) -> bytes:
    return pack("<f", value)
