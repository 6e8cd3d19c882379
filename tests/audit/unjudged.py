"""A run whose optimizer is saved in parts that no reader understands: DeepSpeed's."""

import os
from collections.abc import Sequence
from pathlib import Path

from audit.testing.runs import make_run

NAMES = ("zero_pp_rank_{}_mp_rank_00_model_states.pt", "bf16_zero_pp_rank_{}_mp_rank_00_optim_states.pt")


def make_unjudged(path: str | os.PathLike[str], steps: Sequence[int] = (100, 200)) -> str:
    """Write a run of two processes under ZeRO-3; nothing is wrong with it, and half of it is not read."""
    run = make_run(path, steps, world=2, deepspeed="ds_config.json")
    for step in steps:
        to_unjudged(Path(run, f"checkpoint-{step}"), step)
    return run


def to_unjudged(place: Path, step: int) -> None:
    """Put DeepSpeed's files in the place of the optimizer of one checkpoint."""
    folder = place / f"global_step{step}"
    folder.mkdir()
    for name in NAMES:
        for rank in (0, 1):
            (folder / name.format(rank)).write_bytes((place / "optimizer.pt").read_bytes())
    (place / "optimizer.pt").unlink()
    (place / "latest").write_text(folder.name)
