"""Runs whose log holds learning rates of one's own choice."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audit.testing.runs import edit_state, make_run


def rated(path: Path, rates: Sequence[float], every: int = 10, **arguments: Any) -> str:
    """Write a run that logs ``rates`` every 10 steps and saves every ``10 * every``."""
    steps = range(10 * every, 10 * len(rates) + 1, 10 * every)
    run = make_run(path, steps=steps, save_steps=10 * every, **arguments)
    log = [{"learning_rate": rate, "loss": 1.0, "step": 10 * (index + 1)} for index, rate in enumerate(rates)]
    for step in steps:
        edit_state(os.path.join(run, f"checkpoint-{step}"), log_history=log[: step // 10])
    return run


def fall(count: int = 10, top: float = 1e-4) -> list[float]:
    """A linear schedule from near ``top`` down to 0."""
    return [top * (1 - (index + 1) / count) for index in range(count)]
