"""The role of each file that ``Accelerator.save_state`` writes.

Facts: accelerate 1.15, ``checkpointing.save_accelerator_state`` and ``load_accelerator_state``, ``utils/constants.py``.
``load_state`` fails where a model, an optimizer or a scheduler is missing. It skips missing random states with a
message at level INFO, and compares nothing: files of another step are loaded silently.
"""

import re
from collections.abc import Iterator, Mapping

from audit.plugin import AdapterFiles, Entry, Files, Layout

# In the order in which load_state takes them.
MODEL = ("model.safetensors", "pytorch_model.bin", "pytorch_model_fsdp.bin")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
OPTIMIZER, SCHEDULER, SCALER = "optimizer.bin", "scheduler.bin", "scaler.pt"
MOST_PROCESSES = 16384

_SHARD = re.compile(r"(model|pytorch_model)(_[0-9]{1,4})?-[0-9]{5}-of-[0-9]{5}\.(safetensors|bin)", re.ASCII)
_MORE_MODELS = re.compile(r"(model|pytorch_model|pytorch_model_fsdp)_[0-9]{1,4}\.(safetensors|bin)", re.ASCII)
_LORA = re.compile(r"(pytorch_lora_weights|adapter_model)(_[0-9]{1,4})?\.(safetensors|bin)", re.ASCII)
_STATES = re.compile(r"random_states_([0-9]{1,6})\.pkl", re.ASCII)
_OTHERS = re.compile(
    r"(optimizer|scheduler|sampler|dl_state_dict)_[0-9]{1,4}\.bin|sampler\.bin|dl_state_dict\.bin"
    r"|custom_checkpoint_[0-9]{1,4}\.pkl",
    re.ASCII,
)
_FURTHER = re.compile(r"(optimizer|scheduler)_[0-9]{1,4}\.bin", re.ASCII)
_FSDP_MODEL = re.compile(r"pytorch_model_fsdp_[0-9]{1,4}", re.ASCII)
_FSDP_OPTIMIZER = re.compile(r"optimizer_[0-9]{1,4}", re.ASCII)
_LOCAL = re.compile(r"(pytorch_model_fsdp|optimizer)(_[0-9]{1,4})?_rank[0-9]{1,6}\.bin", re.ASCII)
"""LOCAL_STATE_DICT: a file of each process (accelerate 1.15, utils/fsdp_utils.py)."""

_ENGINE = re.compile(r"pytorch_model(_[0-9]{1,4})?", re.ASCII)
"""DeepSpeed: ``save_state`` calls ``save_checkpoint(output_dir, "pytorch_model")``, and loads by that name."""


def lay_out(entries: Mapping[str, Entry]) -> Layout:
    """Return the layout of one checkpoint; ``entries`` are keyed by path relative to it."""
    files = Files(entries)
    layout = _weights(files)
    states = {int(found[1]): name for name in files.root if (found := _STATES.fullmatch(name)) and files.has(name)}
    world = max((rank + 1 for rank in states if rank < MOST_PROCESSES), default=None)
    layout = layout._replace(
        optimizer=files.only(OPTIMIZER),
        scheduler=files.only(SCHEDULER),
        scaler=files.only(SCALER),
        rng=tuple(states[rank] for rank in sorted(states)),
        world_size=world,
        others=files.matching(_OTHERS),
        unread={
            name: f"is one of several {found[1]}s, of which the first is judged" for name, found in _further(files)
        },
    )
    owed = {"weights": layout.weights[0] if layout.weights else MODEL[0], "optimizer": OPTIMIZER}
    layout = _sharded(files, layout, owed)
    rng = tuple(f"random_states_{rank}.pkl" for rank in range(world or 1))
    return layout._replace(
        owed=owed,
        owed_rng=rng,
        missing={role: name for role, name in owed.items() if not files.has(name)},
        missing_rng=tuple(name for name in rng if not files.has(name)),
    )


def _further(files: Files) -> Iterator[tuple[str, re.Match[str]]]:
    """The second optimizer and scheduler, and those after it: no rule looks into them."""
    return ((name, found) for name in files.matching(_FURTHER) if (found := _FURTHER.fullmatch(name)))


def _sharded(files: Files, layout: Layout, owed: dict[str, str]) -> Layout:
    """Return the layout with the states that FSDP or DeepSpeed divided, and put into ``owed`` what they must have.

    Every model that was prepared has a directory of its own.
    """
    models, optimizers, engines = (
        [name for name in files.directories() if pattern.fullmatch(name)]
        for pattern in (_FSDP_MODEL, _FSDP_OPTIMIZER, _ENGINE)
    )
    engines = [name for name in engines if any(path.endswith("_states.pt") for path in files.below(name))]
    local = files.matching(_LOCAL)
    if models or (optimizers and not layout.optimizer):
        for role, directories, usual in (
            ("weights", models, "pytorch_model_fsdp_0"),
            ("optimizer", [] if layout.optimizer else optimizers, "" if layout.optimizer else "optimizer_0"),
        ):
            if usual:
                owed[role] = f"{directories[0] if directories else usual}/.metadata"
            owed.update({f"{role}:{name}": f"{name}/.metadata" for name in directories[1:]})
        return layout._replace(
            kind="fsdp",
            sharded_weights=tuple(path for name in models for path in files.below(name)),
            sharded_optimizer=tuple(path for name in optimizers for path in files.below(name)),
        )
    if local:
        owed["weights"] = next((name for name in local if not name.startswith("optimizer")), "pytorch_model_fsdp.bin")
        owed["optimizer"] = next((name for name in local if name.startswith("optimizer")), OPTIMIZER)
        return layout._replace(kind="fsdp", sharded_weights=local)
    if engines:
        parts = [path for name in engines for path in files.below(name)]
        owed.clear()
        return layout._replace(
            kind="deepspeed",
            sharded_weights=tuple(path for path in parts if path.endswith("model_states.pt")),
            sharded_optimizer=tuple(path for path in parts if path.endswith("optim_states.pt")),
        )
    return layout


def _weights(files: Files) -> Layout:
    """Find the models; a hook of the script may have saved them as an adapter or into directories instead."""
    index = files.first(*INDEXES)
    shards = files.matching(_SHARD)
    more = files.matching(_MORE_MODELS)
    if shards or index:
        return Layout("full", (*shards, *more), index)
    single = files.first(*MODEL)
    if single is not None:
        return Layout("full", (single, *more))
    adapters = tuple(
        AdapterFiles("default" if not place else name, "", files.only("adapter_config.json"), name)
        for place, name in enumerate(files.matching(_LORA))
    )
    if adapters:
        return Layout("adapter", tuple(item.weights for item in adapters if item.weights), adapters=adapters)
    saved = tuple(
        path
        for directory in files.directories()
        for path in files.below(directory)
        if path.endswith((".safetensors", ".bin"))
    )
    return Layout("full" if saved else "unknown", saved)
