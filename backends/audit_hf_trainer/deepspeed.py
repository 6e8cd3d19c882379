"""Checkpoints of DeepSpeed: deepspeed/runtime/engine.py, save_checkpoint and its file names."""

import re
from collections.abc import Mapping
from typing import Any

from audit.plugin import Files, Layout
from audit_hf_trainer.names import LATEST
from audit_hf_trainer.owing import launched_as

_STEP = re.compile(r"global_step[0-9]{1,18}", re.ASCII)
_PARTITION = re.compile(
    r"(?P<head>(?:bf16_|fp16_)?zero_pp_rank_)(?P<rank>[0-9]{1,6})(?P<tail>_mp_rank_00_.*)", re.ASCII
)
_OTHER_MODEL_RANK = re.compile(r"mp_rank_(?!00)[0-9]", re.ASCII)


def recognises(files: Files, arguments: Mapping[str, Any] | None) -> bool:
    """Say whether DeepSpeed trained this: by its files, or, if all are missing, by the arguments."""
    if files.has(LATEST) or any(_STEP.fullmatch(name) for name in files.directories()):
        return True
    return bool((arguments or {}).get("deepspeed")) or launched_as(arguments, "DEEPSPEED")


def apply(
    files: Files, layout: Layout, owed: dict[str, str], state: Mapping[str, Any] | None, latest: str | None
) -> Layout:
    """Return the layout with DeepSpeed's files, and put into ``owed`` the files it must have instead of the usual ones.

    Scheduler and scaler are in the engine's own files; a scheduler.pt is there only if Trainer made the schedule. A
    resume never reads the consolidated model file. ``latest`` alone names the directory that is loaded: others beside
    it are left from saves that were cut off. The optimizer's partitions are owed if there is at least one:
    without ZeRO they are part of the model states.
    """
    owed.pop("optimizer", None)
    owed.pop("scheduler", None)
    owed.pop("scaler", None)
    step = (state or {}).get("global_step")
    directory = (
        _named(files, latest) or _newest(files) or (f"global_step{step}" if isinstance(step, int) else "global_step")
    )
    inside = files.below(directory)
    models = tuple(name for name in inside if name.endswith(("_model_states.pt", "-model_states.pt")))
    optimizers = tuple(name for name in inside if name.endswith("_optim_states.pt"))
    owed["weights"] = models[0] if models else f"{directory}/mp_rank_00_model_states.pt"
    owed["latest"] = LATEST
    if not any(_OTHER_MODEL_RANK.search(name) for name in inside):  # each partition then belongs to one process
        for role, found in (("weights", models), ("optimizer", optimizers)):
            owed.update(_partitions(role, directory, found, layout.world_size or 0))
    return layout._replace(
        kind="deepspeed",
        weights=(),
        shard_index=None,
        shadowing=(),
        sharded_weights=models,
        sharded_optimizer=optimizers,
        optimizer=None,
        skips=True,  # the engine may be behind the trainer: deepspeed/step-mismatch compares it with the optimizer
    )


def _partitions(role: str, directory: str, found: tuple[str, ...], world: int) -> dict[str, str]:
    """Return the partition of every rank, named like one that is there."""
    for name in found:
        if match := _PARTITION.fullmatch(name[len(directory) + 1 :]):
            return {f"{role}:{rank}": f"{directory}/{match['head']}{rank}{match['tail']}" for rank in range(world)}
    return {}


def _named(files: Files, latest: str | None) -> str | None:
    """The directory that ``latest`` names, None if there is none; rules report that."""
    name = (latest or "").strip()
    return name if name in files.directories() else None


def _newest(files: Files) -> str | None:
    steps = [name for name in files.directories() if _STEP.fullmatch(name)]
    return max(steps, key=lambda name: int(name[len("global_step") :]), default=None)
