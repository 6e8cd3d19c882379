"""What a checkpoint says of itself, for ``audit list`` and ``audit show``: facts, no judgement."""

import time
from math import isfinite
from typing import Any, NamedTuple

from audit.checkpoint import Checkpoint
from audit.series import tail
from audit.storage import DIRECTORY


class Overview(NamedTuple):
    """One line about a checkpoint; ``loss`` and ``learning_rate`` are the last logged ones, ``saved`` is UTC."""

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


def overview(checkpoint: Checkpoint) -> Overview:
    """Collect one line about a checkpoint from what can be read."""
    state = checkpoint.optional("state")
    layout = checkpoint.optional("layout")
    entry = checkpoint.entries.get(checkpoint.run.backend.state_file)
    remark = ""
    if not checkpoint.complete:
        completeness = checkpoint.optional("completeness")
        remark = completeness.state if completeness else "cannot be listed"
    elif state and state.best_model_checkpoint and _last(state.best_model_checkpoint) == checkpoint.name:
        remark = "best"
    elif layout and layout.weights_only:
        remark = "weights only"
    return Overview(
        checkpoint.name,
        state.global_step if state else None,
        _number(state.epoch) if state else None,
        _logged(checkpoint, "loss"),
        _logged(checkpoint, "learning_rate"),
        layout.kind if layout else None,
        sum(item.kind != DIRECTORY for item in checkpoint.entries.values()),
        checkpoint.bytes,
        time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.mtime_ns // 1_000_000_000)) if entry else None,
        remark,
    )


def details(checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """Collect everything worth showing about a checkpoint, by section."""
    sections: dict[str, dict[str, Any]] = {}
    state = checkpoint.optional("state")
    if state:
        shown = ("global_step", "max_steps", "epoch", "num_train_epochs", "save_steps", "train_batch_size")
        best = ("best_metric", "best_global_step", "best_model_checkpoint")
        sections["trainer state"] = {name: getattr(state, name) for name in (*shown, *best)}
        history = checkpoint.optional("history")
        sections["trainer state"]["log entries"] = len(history) if history else 0
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
            "parameters with state": len(optimizer.state),
            "step": max(optimizer.steps, default=None),
        }
    adapters = checkpoint.optional("adapters") or ()
    for adapter in adapters:
        wanted = ("peft_type", "r", "lora_alpha", "target_modules", "base_model_name_or_path")
        sections[f"adapter {adapter.files.name}"] = {name: adapter.config.get(name) for name in wanted}
        sections[f"adapter {adapter.files.name}"]["tensors"] = len(adapter.tensors)
    arguments = checkpoint.optional("arguments") or {}
    shown_arguments = (
        "learning_rate",
        "lr_scheduler_type",
        "warmup_steps",
        "optim",
        "save_total_limit",
        "seed",
        "fp16",
        "bf16",
        "num_processes",
    )
    sections["training arguments"] = {name: arguments[name] for name in shown_arguments if name in arguments}
    sections["files"] = {path: item.size for path, item in checkpoint.entries.items() if item.kind != DIRECTORY}
    return {title: _number(values) for title, values in sections.items()}


def _logged(checkpoint: Checkpoint, key: str) -> float | None:
    history = checkpoint.optional("history")
    if history is None:
        return None
    last = tail(history, key, 1)
    return last[0].value if last and isfinite(last[0].value) else None


def _number(value: Any) -> Any:
    """NaN and infinities as text, inside of lists and objects, too: the JSON output has no word for them."""
    if isinstance(value, float) and not (float("-inf") < value < float("inf")):
        return str(value)
    if isinstance(value, list | tuple):
        return [_number(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _number(item) for key, item in value.items()}
    return value


def _last(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]
