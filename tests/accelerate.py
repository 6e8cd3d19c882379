"""Runs of ``Accelerator.save_state``, laid out after what accelerate 1.15 wrote; nothing of it is installed."""

import os
import shutil
from pathlib import Path

from audit.testing.runs import edit_torch, make_run

NAMES = {"optimizer.pt": "optimizer.bin", "scheduler.pt": "scheduler.bin"}
STATES = {"python": "random_state", "numpy": "numpy_random_seed", "cpu": "torch_manual_seed"}


def make_accelerate(
    path: str | os.PathLike[str], steps: tuple[int, ...] = (100, 200, 300), name: str = "step_{}"
) -> str:
    """Write a sound run of one process; return its path. ``name`` is that of a checkpoint."""
    run = make_run(path, steps, full=True)
    for step in steps:
        old, place = Path(run, f"checkpoint-{step}"), Path(run, name.format(step))
        if old != place:
            old.rename(place)
        for file in ("trainer_state.json", "training_args.bin", "config.json", "generation_config.json"):
            (place / file).unlink()
        for was, now in NAMES.items():
            (place / was).rename(place / now)
        states = place / "random_states_0.pkl"
        (place / "rng_state.pth").rename(states)
        edit_torch(states, lambda values: {"step": 0, **{STATES[key]: value for key, value in values.items()}})
    return run


def settle(run: Path, moment: float = 1.7e9) -> None:
    """Make all files of a run old enough that none can be of a save that still goes on."""
    for path in [run, *run.rglob("*")]:
        os.utime(path, (moment, moment))


def damage(place: Path, what: str, name: str) -> None:
    """Damage a file of a checkpoint: it is ``gone``, ``cut`` to its half, or that of the checkpoint ``older``."""
    path = place / name
    if what == "gone":
        path.unlink()
    elif what == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        number = min(int(other.name.rpartition("_")[2]) for other in place.parent.glob("step_*"))
        shutil.copyfile(place.with_name(f"step_{number}") / name, path)
