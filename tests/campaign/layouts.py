"""Sound runs of every layout, written without torch, and what a resume of each reads."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from audit.testing.runs import make_run
from tests.accelerate import make_accelerate, settle
from tests.dcp import MODEL, OPTIMIZER, make_apart, make_sharded
from tests.lightning import make_lightning
from tests.plugins.audit_rules.files.editing import shard
from tests.zero import make_zero

STATE = r"trainer_state\.json|scheduler\.pt|rng_state(_\d+)?\.pth"


class Layout(NamedTuple):
    """One layout: its writer, and the pattern of what a resume reads, relative to the checkpoint.

    A checkpoint is a directory, or one file (``single``).
    """

    title: str
    make: Callable[[Path], object]
    read: str
    single: bool = False

    def checkpoints(self, run: Path) -> list[Path]:
        """The checkpoints, the newest last."""
        found = [path for path in run.iterdir() if path.name != ".audit" and path.is_dir() != self.single]
        return sorted(found, key=lambda path: int(re.findall(r"[0-9]+", path.name)[-1]))

    def files(self, checkpoint: Path) -> list[Path]:
        """The files of a checkpoint, in an order that is that of every other checkpoint."""
        return [checkpoint] if self.single else sorted(path for path in checkpoint.rglob("*") if path.is_file())

    def is_read(self, file: str) -> bool:
        """Whether a resume reads a file, given relative to its checkpoint."""
        return self.single or re.fullmatch(self.read, file) is not None


def _sharded(run: Path) -> None:
    make_run(run, (100, 200, 300), full=True)
    for step in (100, 200, 300):
        shard(run / f"checkpoint-{step}")


LAYOUTS = {
    "lora": Layout("Trainer, LoRA", make_run, rf"{STATE}|adapter_model\.safetensors|optimizer\.pt"),
    "full": Layout(
        "Trainer, whole model", lambda run: make_run(run, full=True), rf"{STATE}|model\.safetensors|optimizer\.pt"
    ),
    "sharded": Layout("Trainer, safetensors in shards", _sharded, rf"{STATE}|model.*|optimizer\.pt"),
    "scaler": Layout(
        "Trainer, fp16, two processes",
        lambda run: make_run(run, fp16=True, world=2),
        rf"{STATE}|adapter_model\.safetensors|optimizer\.pt|scaler\.pt",
    ),
    "fsdp": Layout(
        "Trainer, FSDP, sharded state",
        lambda run: make_sharded(run, (100, 200, 300)),
        rf"{STATE}|{MODEL}/.*|{OPTIMIZER}/.*",
    ),
    "zero-2": Layout("DeepSpeed ZeRO 2", make_zero, rf"{STATE}|latest|global_step\d+/.*"),
    "zero-3": Layout("DeepSpeed ZeRO 3", lambda run: make_zero(run, stage=3), rf"{STATE}|latest|global_step\d+/.*"),
    "accelerate": Layout(
        "accelerate", make_accelerate, r"model\.safetensors|optimizer\.bin|scheduler\.bin|random_states_0\.pkl"
    ),
    "dcp": Layout("torch.distributed.checkpoint", make_apart, r"model/.*|optimizer/.*"),
    "lightning": Layout("Lightning", lambda run: make_lightning(run, last=False), "", single=True),
}


def made(layout: Layout, place: Path) -> Path:
    """Write a sound run, older than any save that still goes on."""
    run = place / "run"
    layout.make(run)
    settle(run)
    return run


def copied(run: Path, place: Path) -> Path:
    """Copy a run, times included."""
    if place.exists():
        shutil.rmtree(place)
    shutil.copytree(run, place, symlinks=True)
    return place
