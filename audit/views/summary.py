"""What a checkpoint says of itself, for ``audit list``, ``show`` and ``export``: facts, no judgement."""

import os
from collections.abc import Iterable
from math import isfinite, prod
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.backend.protocol import last_in
from audit.facts.checkpoint import Checkpoint
from audit.facts.series import series, tail
from audit.ledger.batches import Batch
from audit.storage import DIRECTORY
from audit.text import plain, utc_time

if TYPE_CHECKING:
    from audit.facts.zero import ZeroState

ARGUMENTS = (
    "learning_rate", "lr_scheduler_type", "warmup_steps", "optim", "save_total_limit", "seed", "fp16", "bf16",
    "num_processes",
)  # fmt: skip
"""Training arguments that are shown, in this order."""


class Overview(NamedTuple):
    """One line about a checkpoint; ``loss`` and ``learning_rate`` are the last logged ones.

    ``saved`` is UTC in ISO 8601. ``state`` and ``reason`` are empty unless it was judged
    (:mod:`audit.views.inspection`). ``epoch`` is that of the file: Trainer counts all steps of the run in epochs of the
    newest data, so it goes back where a batch is larger than the one before. ``run_epoch`` is :func:`epochs_at` of the
    run's batches, None without a ledger of batches.
    ``rehearsed``: whether `audit rehearse` found it the same, None if it was not rehearsed as it is. ``by_structure``:
    the state rests on the structure of the files alone.
    """

    name: str
    global_step: int | None
    epoch: float | None
    loss: float | None
    learning_rate: float | None
    kind: str | None
    files: int
    bytes: int
    saved: str | None
    remark: str
    state: str = ""
    reason: str = ""
    run_epoch: float | None = None
    rehearsed: bool | None = None
    by_structure: bool = False


def overview(checkpoint: Checkpoint) -> Overview:
    """Collect one line about a checkpoint from what can be read."""
    state = checkpoint.optional("state")
    newest = checkpoint.run.optional("newest")
    layout = checkpoint.optional("layout")
    entry = last_in(checkpoint.run.backend, checkpoint.entries)
    ours = entry is not None and checkpoint.run.clock.by_trainer  # else it is the time of an upload
    best = newest is not None and newest.best_recorded == checkpoint.name
    return Overview(
        checkpoint.name,
        checkpoint.optional("global_step"),
        plain(state.epoch) if state else None,
        _logged(checkpoint, "loss"),
        _learning_rate(checkpoint),
        layout.kind if layout else None,
        sum(item.kind != DIRECTORY for item in checkpoint.entries.values()),
        checkpoint.bytes,
        utc_time(entry.mtime_ns // 1_000_000_000) if entry and ours else None,
        "best" if best else "",
    )


def _learning_rate(checkpoint: Checkpoint) -> float | None:
    """The rate that was logged last; of a trainer that writes no log, the rate that the schedule is at."""
    if checkpoint.backend.state_file:
        return _logged(checkpoint, "learning_rate")
    scheduler = checkpoint.optional("scheduler")
    rate = scheduler.last_lr[0] if scheduler is not None and scheduler.last_lr else None
    return float(rate) if isinstance(rate, int | float) and isfinite(rate) else None


def epochs_at(batches: Iterable[Batch], step: int) -> float | None:
    """Return how many passes over data were trained up to a step: the sum over all batches, which never goes back.

    None if no batch began before the step, or the end of one is unknown.
    """
    done, found = 0.0, False
    for batch in batches:
        if batch.first_step >= step:
            continue
        last = batch.step if batch.last_step is None and batch.trained else batch.last_step
        if last is None or last <= batch.first_step:
            return None
        done += batch.epochs * min(1.0, (step - batch.first_step) / (last - batch.first_step))
        found = True
    return round(done, 6) if found else None


def details(checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """Collect everything worth showing about a checkpoint, by section, as plain values."""
    sections: dict[str, dict[str, Any]] = {}
    state = checkpoint.optional("state")
    if state:
        shown = ("global_step", "max_steps", "epoch", "num_train_epochs", "save_steps", "train_batch_size")
        best = ("best_metric", "best_global_step", "best_model_checkpoint")
        sections["trainer state"] = {name: getattr(state, name) for name in (*shown, *best)}
    sections["log"] = _log(checkpoint)
    scheduler = checkpoint.optional("scheduler")
    if scheduler:
        last = scheduler.last_lr
        sections["schedule"] = {
            "kind": scheduler.kind,
            "last_epoch": scheduler.last_epoch,
            "learning rate now": last[0] if last else None,
        }
    optimizer = checkpoint.optional("optimizer")
    if optimizer:
        sections["optimizer"] = {
            "kind": optimizer.kind,
            # ZeRO's optimizer has one flat parameter for each group.
            "groups with state" if checkpoint.optional("zero") else "parameters with state": len(optimizer.state),
            "step": max(optimizer.steps, default=None),
            "learning rate": plain(optimizer.groups[0].get("lr")) if optimizer.groups else None,
        }
    layout = checkpoint.optional("layout")
    for part in checkpoint.optional("shards") or ():
        entries, metadata = part.metadata.entries.values(), part.metadata
        role = "weights" if layout and part.tables[0] in layout.sharded_weights else "optimizer"
        sections[f"{role} in shards"] = {
            "tensors": sum(entry.dtype is not None for entry in entries),
            "values": sum(entry.dtype is None for entry in entries),
            "shards": len({item.file for item in metadata.items}),
            "processes": f"at least {metadata.least_ranks}" if metadata.least_ranks else None,
            "save_id": metadata.save_id,
        }
    if (zero := checkpoint.optional("zero")) is not None:
        sections["DeepSpeed"] = _zero(zero)
    for adapter in checkpoint.optional("adapters") or ():
        wanted = ("peft_type", "r", "lora_alpha", "target_modules", "base_model_name_or_path")
        sections[f"adapter {adapter.files.name}"] = {name: adapter.config.get(name) for name in wanted}
        sections[f"adapter {adapter.files.name}"]["tensors"] = len(adapter.tensors)
    arguments = checkpoint.optional("arguments") or {}
    sections["training arguments"] = {name: arguments[name] for name in ARGUMENTS if name in arguments}
    sections["files"] = {path: item.size for path, item in checkpoint.entries.items() if item.kind != DIRECTORY}
    return {title: plain(values) for title, values in sections.items() if values}


def _zero(zero: "ZeroState") -> dict[str, Any]:
    """What DeepSpeed's engine and the partitions of ZeRO say: the parameters as a whole, whatever rank has them."""
    engine, ranks = zero.engine, zero.ranks
    steps = {step for part in ranks for step in part.steps}
    shapes = [shape for group in engine.shapes or () for shape in group.values()]
    return {
        "ZeRO stage": engine.stage,
        "tag": zero.tag,
        "global_steps": engine.global_steps,
        "skipped_steps": engine.skipped_steps,
        "processes": engine.dp_world_size,
        "partitions": len(zero.partitions),
        "parameters": len(shapes) if engine.shapes is not None else None,
        "elements": sum(map(prod, shapes)) if engine.shapes is not None else None,
        "optimizer step": max(steps, default=None),
        "bf16": engine.bf16,
        "elastic_checkpoint": engine.elastic or None,
        "own schedule": engine.own_scheduler or None,
    }


def _log(checkpoint: Checkpoint) -> dict[str, Any]:
    """Last and best losses, and the last learning rate, each with its step."""
    history = checkpoint.optional("history")
    if history is None:
        return {}
    found: dict[str, Any] = {"entries": len(history)}
    for key in ("loss", "eval_loss"):
        points = [point for point in series(history, key) if isfinite(point.value)]
        if points:
            best = min(points, key=lambda point: point.value)
            found[key] = {"last": points[-1].value, "at": points[-1].step, "best": best.value, "best at": best.step}
    found["learning_rate"] = _logged(checkpoint, "learning_rate")
    return found


def _logged(checkpoint: Checkpoint, key: str) -> float | None:
    history = checkpoint.optional("history")
    if history is None:
        return None
    last = tail(history, key, 1)
    return last[0].value if last and isfinite(last[0].value) else None


def path_of(given: str, checkpoint: Checkpoint) -> str:
    """Return the path of a checkpoint as the user would write it, who gave it or its run as ``given``."""
    if os.path.basename(os.path.abspath(given)) == checkpoint.name:
        return given
    return os.path.join(given, checkpoint.name)
