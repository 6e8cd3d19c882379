"""A run of audit train that is rehearsed in this process, which has the libraries; and the same as commands."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audit.manager import load
from audit.rehearsal.report import RehearsalReport
from audit.training.config import read_train_config
from audit.training.loop import TrainOptions, train
from audit.training.process import here
from audit.training.rehearsal import Asked, rehearse
from tests.audit.training.stage import here as rehearse_here
from tests.backends.hf_trainer.continuous import Continuous, examples

SAVED = "save_steps = 3\nsave_total_limit = 20"


def trained(home: Path, files: Mapping[str, Sequence[Any]] | None = None, seed: int = 42, **more: Any) -> Continuous:
    """Train files, by default two of 24 rows (six steps each), in this process."""
    shop = Continuous(home, **{"arguments": SAVED, **more})
    shop.config.write_text(f"seed = {seed}\n{shop.config.read_text()}")
    for name, rows in (files or {"a.jsonl": examples(24, 1), "b.jsonl": examples(24, 2)}).items():
        shop.drop(name, rows)
    go_on(shop)
    return shop


def go_on(shop: Continuous) -> None:
    """Train what waits."""
    registry = load()
    config, trainer = read_train_config(str(shop.config), registry)
    assert train(config, trainer, registry, lambda event: None, TrainOptions(), run_leg=here) == 0


def rehearsed(shop: Continuous, checkpoint: int | str | None = None, **asked: Any) -> RehearsalReport:
    """Rehearse in this process."""
    registry = load()
    config, trainer = read_train_config(str(shop.config), registry)
    wanted = None if checkpoint is None else str(checkpoint)
    return rehearse(config, trainer, registry, Asked(wanted, **asked), rehearse_here)


def copied(shop: Continuous, home: Path) -> Continuous:
    """Copy a shop with all that is in it; a ledger has no paths in it."""
    shutil.copytree(shop.home, home, symlinks=True)
    other = object.__new__(Continuous)
    other.__dict__.update(shop.__dict__)
    other.home, other.run, other.inbox = home, home / "run", home / "inbox"
    other.config = home / "train.toml"
    return other


def edit_config(shop: Continuous, old: str, new: str) -> None:
    text = shop.config.read_text()
    assert old in text
    shop.config.write_text(text.replace(old, new))


def edit_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
