"""What the rules of rotation share."""

import re

from audit.plugin import Checkpoint, NotApplicable, Run


def one_history(run: Run) -> None:
    """Raise NotApplicable if there are several histories: each has its own newest, limit and best checkpoint."""
    if len(run.lineages) > 1:
        raise NotApplicable(f"there are {len(run.lineages)} histories; which of them continues is not known")


def trained_in_place(run: Run) -> None:
    """Raise NotApplicable for a run in a storage: its trainer rotates on a disk, and a mirror may keep more."""
    if not run.clock.by_trainer:
        raise NotApplicable("no trainer rotates checkpoints where these are stored")


def last_part(path: str) -> str:
    """Return the last component of a path of any system: trees get moved, and come from Windows."""
    return re.split(r"[/\\]+", path.rstrip("/\\"))[-1]


def parent(path: str) -> str:
    """Return the path without its last component, spelled as ``str(pathlib.Path(path).parent)`` would."""
    return plain(path[: len(path.rstrip("/\\")) - len(last_part(path))])


def plain(path: str) -> str:
    """Return a path as ``str(pathlib.Path(path))`` spells it: without double slashes, ``.`` and a slash at the end."""
    root = "/" if path.startswith("/") else ""
    return root + "/".join(part for part in path.split("/") if part not in ("", ".")) or "."


def is_broken(checkpoint: Checkpoint) -> bool:
    """Say whether a resume from this checkpoint would fail or lose state, as far as a quick look at its files shows."""
    if not checkpoint.complete:
        return True
    layout = checkpoint.optional("layout")
    if layout is None or layout.weights_only:
        return True
    if any(role.partition(":")[0] in ("weights", "optimizer", "scheduler", "state") for role in layout.missing):
        return True
    unread = checkpoint.backend.arguments_file
    heavy = saved_files(checkpoint)
    return any(file.path in heavy and file.path != unread for file, _ in checkpoint.damages)


def saved_files(checkpoint: Checkpoint) -> frozenset[str]:
    """Return the files that the trainer wrote when it saved, without the small ones that people edit."""
    layout = checkpoint.layout
    single = (layout.state, layout.arguments, layout.optimizer, layout.scheduler, layout.scaler, layout.shard_index)
    several = (layout.weights, layout.rng, layout.sharded_weights, layout.sharded_optimizer)
    return frozenset(path for path in (*single, *(path for group in several for path in group)) if path)
