"""The part that a ``.ckpt`` of PyTorch Lightning plays, and where in it each state is.

Facts: lightning 2.6, ``trainer/connectors/checkpoint_connector.py`` (``dump_checkpoint``, ``restore``), and files that
it wrote. A resume restores the state dict, the optimizers, the schedulers, the loops and the callbacks from the file
and compares nothing. The name of the file is not looked at.

A strategy that shards saves a directory of that name (``strategies/fsdp.py``, ``model_parallel.py``, ``deepspeed.py``):
weights and optimizers by ``torch.distributed.checkpoint`` or by DeepSpeed's engine, all else as one dictionary.
"""

from collections.abc import Mapping
from typing import Any

from audit.plugin import ITSELF, METADATA, Entry, Files, Layout

VERSION = "pytorch-lightning_version"
META = "meta.pt"
TAG = "checkpoint"
"""Under which ``DeepSpeedStrategy`` has the engine save."""


def lay_out(
    entries: Mapping[str, Entry], values: Mapping[str, Any] | None, parts: Mapping[str, tuple[str | int, ...]]
) -> Layout:
    """Return the layout of one checkpoint; ``values`` is the dictionary in its file, None if it could not be read."""
    if ITSELF not in entries:
        return _directory(Files(entries), values, parts)
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


def _directory(files: Files, values: Mapping[str, Any] | None, parts: Mapping[str, tuple[str | int, ...]]) -> Layout:
    """A directory in place of the file; ``values`` are those of ``meta.pt``, or of DeepSpeed's model states."""
    sharded = tuple(sorted(path for path in files.root if path.endswith((METADATA, ".distcp")) and files.has(path)))
    states = tuple(path for path in files.below(TAG) if path.endswith("_states.pt"))
    engine = "latest" in files.root or bool(states)
    holder = next((path for path in (*states, META) if files.has(path)), META)
    owed = {"weights": states[0] if states else f"{TAG}/mp_rank_00_model_states.pt" if engine else METADATA}
    layout = Layout(
        "deepspeed" if engine else "fsdp",
        sharded_weights=tuple(path for path in states if path.endswith("model_states.pt")) if engine else sharded,
        sharded_optimizer=tuple(path for path in states if path.endswith("optim_states.pt")) if engine else sharded,
        others=(META,) if files.has(META) and not engine else (),
        parts={role: parts[role] for role in ("scheduler", "scaler")},
        owed=owed,
        missing={role: path for role, path in owed.items() if not files.has(path)},
        skips=True,
    )
    if values is None or VERSION not in values:
        return layout._replace(unread={holder: "holds no checkpoint of PyTorch Lightning"})
    schedulers, step = _count(values, "lr_schedulers"), values.get("global_step")
    unread = list(_not_judged(0, schedulers or 0))
    if type(step) is not int or step < 0:
        unread.append("holds no global_step that is a number")
    return layout._replace(
        scheduler=holder if schedulers == 1 else None,
        scaler=holder if "MixedPrecision" in values else None,
        weights_only=schedulers is None,
        unread={holder: " and ".join(unread)} if unread else {},
        step=step if type(step) is int and step >= 0 else None,
        schedule_at=_positions(step, values.get("epoch")),
    )
