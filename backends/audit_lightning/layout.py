"""The part that a ``.ckpt`` file of PyTorch Lightning plays, and where in it each state is.

Facts: lightning 2.6, ``trainer/connectors/checkpoint_connector.py`` (``dump_checkpoint``, ``restore``), and files that
it wrote. A resume restores the state dict, the optimizers, the schedulers, the loops and the callbacks from the file
and compares nothing. The name of the file is not looked at.
"""

from collections.abc import Mapping
from typing import Any

from audit.plugin import ITSELF, Entry, Files, Layout

VERSION = "pytorch-lightning_version"


def lay_out(
    entries: Mapping[str, Entry], values: Mapping[str, Any] | None, parts: Mapping[str, tuple[str | int, ...]]
) -> Layout:
    """Return the layout of one checkpoint; ``values`` is the dictionary in its file, None if it could not be read."""
    if ITSELF not in entries:
        return _directory(Files(entries), parts)
    if values is None or VERSION not in values or type(values.get("state_dict")) is not dict:
        return Layout(
            "unknown", others=(ITSELF,), unread={ITSELF: "holds no checkpoint of PyTorch Lightning"}, parts=parts
        )
    optimizers, schedulers = _count(values, "optimizer_states"), _count(values, "lr_schedulers")
    step, epoch = values.get("global_step"), values.get("epoch")
    unread = list(_not_judged(optimizers or 0, schedulers or 0))
    if type(step) is not int or step < 0:
        unread.insert(0, "holds no global_step that is a number")
    return Layout(
        "full",
        (ITSELF,),
        optimizer=ITSELF if optimizers == 1 else None,
        scheduler=ITSELF if schedulers == 1 else None,
        scaler=ITSELF if "MixedPrecision" in values else None,
        weights_only=optimizers is None,
        unread={ITSELF: " and ".join(unread)} if unread else {},
        parts=parts,
        step=step if type(step) is int and step >= 0 else None,
        schedule_at=_positions(step, epoch),
        skips=True,  # a training step that returns None counts, and the optimizer finds no gradient
    )


def _count(values: Mapping[str, Any], key: str) -> int | None:
    """How many states are in a list; None without one, as in a file that was saved with ``save_weights_only``."""
    found = values.get(key)
    return len(found) if type(found) is list else None


def _not_judged(optimizers: int, schedulers: int) -> "list[str]":
    """Say what is in the file that no rule compares: Lightning's step is the sum over all optimizers."""
    found = []
    if optimizers > 1:
        found.append(f"holds the states of {optimizers} optimizers, which are not compared with its step")
    if schedulers > 1:
        found.append(f"holds the states of {schedulers} schedulers, which are not compared with its step")
    return found


def _positions(step: Any, epoch: Any) -> tuple[int, ...]:
    """Where a schedule may be: it is moved with each step, or at the end of each epoch, before or after the save."""
    return tuple(
        sorted({value for value in (step, epoch, epoch + 1 if type(epoch) is int else None) if type(value) is int})
    )


def _directory(files: Files, parts: Mapping[str, tuple[str | int, ...]]) -> Layout:
    """A directory in place of the file, of the strategies FSDP, ModelParallel and DeepSpeed: not judged."""
    paths = tuple(sorted(path for path in files.entries if files.has(path)))
    reason = "is a part of a directory that a strategy of PyTorch Lightning saved, which is not judged"
    return Layout("unknown", others=paths, unread=dict.fromkeys(paths, reason), parts=parts)
