"""What a process of DeepSpeed's ZeRO holds, compared with the files of the same rank.

Sources: DeepSpeed 0.19, ``runtime/zero/stage_1_and_2.py`` (``single_partition_of_fp32_groups``, the weights that are
updated) and ``stage3.py`` (``fp32_partitioned_groups_flat``, and ``fp16_partitioned_groups_flat``, with which the model
computes). Each rank loads the partition of its own number. Nothing is gathered.
"""

from collections.abc import Mapping
from typing import Any

import torch

from audit.plugin import (
    FP32,
    OPTIMIZER_PART,
    SCHEDULER_PART,
    WEIGHTS_PART,
    Compared,
    NotApplicable,
    StoredPartition,
    StoredState,
)
from audit_hf_trainer.training.tally import MISSING, Tally, reading

MASTERS = ("single_partition_of_fp32_groups", "fp32_partitioned_groups_flat")
"""Where ZeRO 1 and 2, and ZeRO 3, keep this rank's weights in full precision."""
COMPUTED = "fp16_partitioned_groups_flat"
"""Where ZeRO 3 keeps this rank's part of what the model computes with, whatever its type."""
OFFLOADED = "has no elements in memory (it is offloaded), so it is not compared"


def compare_engine(trainer: Any, stored: StoredState, skip: frozenset[str]) -> tuple[Compared, Compared]:
    """Compare the module and this rank's partition; ``skip`` are settings that are not compared."""
    engine = trainer.model_wrapped
    weights, optimizer = Tally(WEIGHTS_PART), Tally(OPTIMIZER_PART, skip)
    try:
        saved = stored.partition(trainer.args.process_index)
        _module(weights, engine, stored)
        masters = _masters(engine.optimizer)
        _partition(weights, optimizer, engine.optimizer, masters, saved)
        _settings(optimizer, engine.optimizer.optimizer, masters, saved)
    except NotApplicable as why:
        for tally in (weights, optimizer):
            tally.missed.append(str(why))
    return weights.result(), optimizer.result()


def compare_engine_schedule(trainer: Any, stored: StoredState, skip: frozenset[str]) -> Compared | None:
    """Compare the schedule that the engine keeps and has saved, None if Trainer does that."""
    try:
        saved = stored.engine_schedule()
    except NotApplicable:
        return None
    own = getattr(trainer.model_wrapped, "lr_scheduler", None)
    if saved is None or own is None:
        return None
    tally = Tally(SCHEDULER_PART, skip)
    tally.value("", saved, own.state_dict())
    return tally.result()


def _module(tally: Tally, engine: Any, stored: StoredState) -> None:
    """Compare the weights that the module computes with; ZeRO 3 has none whole."""
    live = engine.module.state_dict()
    lost = 0
    saved = stored.module()
    for name, item in saved.items():
        own = live.get(name)
        if own is None:
            lost += 1
        elif tuple(own.shape) != item.shape:
            tally.value(name, item.shape, tuple(own.shape))
        else:
            tally.pieces(name, reading(item), own.detach().reshape(-1), [(0, 0, item.elements)])
    if lost:
        tally.missed.append(f"{lost} of {len(saved)} tensors have other names in the model than in the files")


def _masters(optimizer: Any) -> Any:
    """The flat weights of each group, of this rank. Raises NotApplicable."""
    for name in MASTERS:
        if (found := getattr(optimizer, name, None)) is not None:
            return found
    raise NotApplicable(f"{type(optimizer).__name__} keeps its partition in a way that is not known here")


def _partition(weights: Tally, moments: Tally, optimizer: Any, masters: Any, saved: StoredPartition) -> None:
    computed = getattr(optimizer, COMPUTED, None)
    inner = optimizer.optimizer
    offloaded = set()
    for piece in saved.slices:
        tally = weights if piece.key == FP32 else moments
        if piece.group >= len(masters):
            tally.value(f"{piece.name} ({piece.key})", piece.group, MISSING)
            continue
        master = masters[piece.group]
        state = inner.state.get(master, {})
        run, read = [(0, piece.start, piece.tensor.elements)], reading(piece.tensor)
        if piece.key != FP32:
            own = state.get(piece.key)
            if isinstance(own, torch.Tensor):
                moments.pieces(f"{piece.name}.{piece.key}", read, own.detach().reshape(-1), run)
            else:
                moments.value(f"{piece.name}.{piece.key}", piece.tensor.shape, MISSING)
            continue
        if not master.numel():
            offloaded.add(piece.group)
            continue
        weights.pieces(f"{piece.name} ({FP32})", read, master.detach().reshape(-1), run)
        if computed is not None and computed[piece.group] is not None and computed[piece.group].numel():
            weights.pieces(piece.name, read, computed[piece.group].detach().reshape(-1), run)
    for group in sorted(offloaded):
        weights.missed.append(f"group {group} of the partition {OFFLOADED}")
    if saved.lacking:
        weights.missed.append(f"{saved.lacking} frozen parameters are in pieces that are not put together")
    if saved.unread is not None:
        moments.missed.append(saved.unread)


def _settings(tally: Tally, inner: Any, masters: Any, saved: StoredPartition) -> None:
    """Compare counts of updates and the settings of the groups of the optimizer inside ZeRO's."""
    for number, values in enumerate(saved.values):
        state: Mapping[str, Any] = inner.state.get(masters[number], {}) if number < len(masters) else {}
        for key, value in values.items():
            tally.value(f"group {number}.{key}", value, state.get(key, MISSING))
    for number, (settings, own) in enumerate(zip(saved.groups, inner.param_groups, strict=False)):
        tally.value(f"param_groups.{number}", settings, own)
