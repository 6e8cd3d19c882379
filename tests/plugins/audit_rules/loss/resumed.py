"""Runs with losses of one's own choice, resumed where one likes."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from struct import pack
from typing import Any

from audit.testing.runs import edit_arguments, edit_state, edit_tensors, make_run
from audit.testing.torch_files import FakeTensor


def resumed(
    path: Path,
    losses: Sequence[float],
    boundaries: Sequence[int] = (),
    every: int = 10,
    entry: Mapping[str, Any] | None = None,
) -> str:
    """Write a run that logs ``losses`` every 10 steps and saves every ``10 * every``.

    After each of ``boundaries`` (steps of saves) the training arguments differ, as after a resume. ``entry`` is added
    to each log entry.
    """
    last = 10 * len(losses)
    steps = sorted({*range(10 * every, last + 1, 10 * every), last})
    run = make_run(path, steps=steps, save_steps=10 * every, schedule="constant", max_steps=last)
    log = [
        {
            "epoch": 0.9 * (index + 1) / len(losses),
            "grad_norm": 1.0,
            "learning_rate": 1e-4,
            "loss": loss,
            **(entry or {}),
        }
        | {"step": 10 * (index + 1)}
        for index, loss in enumerate(losses)
    ]
    for step in steps:
        checkpoint = os.path.join(run, f"checkpoint-{step}")
        edit_state(checkpoint, log_history=log[: step // 10])
        sessions = sum(step > boundary for boundary in boundaries)
        if sessions:
            edit_arguments(checkpoint, dataloader_num_workers=sessions)
    return run


def going_on(run: str) -> str:
    """Give a run weights that move a little from save to save, always the same way."""
    for path in Path(run).glob("checkpoint-*"):
        step = int(path.name.partition("-")[2])

        def move(tensors: dict[str, FakeTensor], step: int = step) -> None:
            for name, tensor in tensors.items():
                count = len(tensor.data) // 4
                values = [0.01 * (index % 7) + step * 1e-5 for index in range(count)]
                tensors[name] = tensor._replace(data=pack(f"<{count}f", *values))

        edit_tensors(path / "adapter_model.safetensors", move)
    return run


def level(value: float, count: int = 20) -> list[float]:
    """Losses around a level, 2 % up and down."""
    return [value * (1 + 0.02 * (index % 3 - 1)) for index in range(count)]
