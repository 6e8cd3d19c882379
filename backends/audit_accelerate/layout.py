"""The role of each file that ``Accelerator.save_state`` writes.

Facts: accelerate 1.15, ``checkpointing.save_accelerator_state`` and ``load_accelerator_state``, ``utils/constants.py``.
``load_state`` fails where a model, an optimizer or a scheduler is missing. It skips missing random states with a
message at level INFO, and compares nothing: files of another step are loaded silently.
"""

import re
from collections.abc import Mapping

from audit.plugin import AdapterFiles, Entry, Files, Layout

# In the order in which load_state takes them.
MODEL = ("model.safetensors", "pytorch_model.bin")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
OPTIMIZER, SCHEDULER, SCALER = "optimizer.bin", "scheduler.bin", "scaler.pt"
MOST_PROCESSES = 16384

_SHARD = re.compile(r"(model|pytorch_model)(_[0-9]{1,4})?-[0-9]{5}-of-[0-9]{5}\.(safetensors|bin)", re.ASCII)
_MORE_MODELS = re.compile(r"(model|pytorch_model)_[0-9]{1,4}\.(safetensors|bin)", re.ASCII)
_LORA = re.compile(r"(pytorch_lora_weights|adapter_model)(_[0-9]{1,4})?\.(safetensors|bin)", re.ASCII)
_STATES = re.compile(r"random_states_([0-9]{1,6})\.pkl", re.ASCII)
_OTHERS = re.compile(
    r"(optimizer|scheduler|sampler|dl_state_dict)_[0-9]{1,4}\.bin|sampler\.bin|dl_state_dict\.bin"
    r"|custom_checkpoint_[0-9]{1,4}\.pkl",
    re.ASCII,
)
_FSDP_MODEL = re.compile(r"pytorch_model_fsdp_[0-9]{1,4}", re.ASCII)
_FSDP_OPTIMIZER = re.compile(r"optimizer_[0-9]{1,4}", re.ASCII)
_ENGINE = re.compile(r"pytorch_model(_[0-9]{1,4})?", re.ASCII)


def lay_out(entries: Mapping[str, Entry], texts: Mapping[str, str] | None = None) -> Layout:
    """Return the layout of one checkpoint; ``entries`` are keyed by path relative to it, ``texts`` holds ``latest``."""
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
    )
    owed = {"weights": layout.weights[0] if layout.weights else MODEL[0], "optimizer": OPTIMIZER}
    model, optimizer = files.directory(_FSDP_MODEL), files.directory(_FSDP_OPTIMIZER)
    engine = files.directory(_ENGINE)
    if model or (optimizer and not layout.optimizer):
        layout = layout._replace(
            kind="fsdp",
            sharded_weights=files.below(model) if model else (),
            sharded_optimizer=files.below(optimizer) if optimizer else (),
        )
        owed["weights"] = f"{model or 'pytorch_model_fsdp_0'}/.metadata"
        if not layout.optimizer:
            owed["optimizer"] = f"{optimizer or 'optimizer_0'}/.metadata"
    elif engine and files.has("latest"):  # save_checkpoint(output_dir, "pytorch_model") of DeepSpeed's engine
        parts = files.below(engine)
        layout = layout._replace(
            kind="deepspeed",
            sharded_weights=tuple(path for path in parts if path.endswith("model_states.pt")),
            sharded_optimizer=tuple(path for path in parts if not path.endswith("model_states.pt")),
        )
        owed = {"latest": "latest"}
    rng = tuple(f"random_states_{rank}.pkl" for rank in range(world or 1))
    return layout._replace(
        owed=owed,
        owed_rng=rng,
        missing={role: name for role, name in owed.items() if not files.has(name)},
        missing_rng=tuple(name for name in rng if not files.has(name)),
    )


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
