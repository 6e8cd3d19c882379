"""The role of each file of a Trainer checkpoint, and the files that its configuration owes.

Facts: transformers 5.23 ``Trainer._save_checkpoint``, ``_load_from_checkpoint`` and
``_load_optimizer_and_scheduler``; older versions where a comment says so.
"""

import re
from collections.abc import Mapping
from typing import Any

from audit.plugin import AdapterFiles, Entry, Files, Layout, checkpoint_step
from audit_hf_trainer import deepspeed, fsdp
from audit_hf_trainer.names import (
    ADAPTER,
    ADAPTER_CONFIG,
    ARGUMENTS,
    CONFIG,
    FULL,
    INDEXES,
    LATEST,
    MODULES,
    OPTIMIZER,
    RNG,
    SCALER,
    SCHEDULER,
    SHARD,
    STATE,
)
from audit_hf_trainer.owing import owes_rng, owes_scaler, ranks, weights_only, world_size


def lay_out(
    entries: Mapping[str, Entry],
    arguments: Mapping[str, Any] | None,
    state: Mapping[str, Any] | None,
    texts: Mapping[str, str] | None = None,
) -> Layout:
    """Return the layout of one checkpoint.

    ``entries`` are keyed by path relative to the checkpoint, at any depth; ``arguments`` are the fields of
    training_args.bin and ``state`` those of trainer_state.json, None if the file is absent or unreadable. ``texts``:
    DeepSpeed's ``latest``, if it is there.
    """
    files = Files(entries)
    layout = _weights(files)
    bare = weights_only(files, arguments)
    world = world_size(files, arguments)
    layout = layout._replace(
        state=files.only(STATE),
        arguments=files.only(ARGUMENTS),
        optimizer=files.only(OPTIMIZER),
        scheduler=files.only(SCHEDULER),
        scaler=files.only(SCALER),
        rng=ranks(files),
        world_size=world,
        weights_only=bare,
    )
    owed = {"weights": _owed_weights(files, layout), "state": STATE}
    for adapter in layout.adapters:
        suffix = f":{adapter.name}" if adapter.directory else ""
        owed[f"adapter_config{suffix}"] = _inside(adapter.directory, ADAPTER_CONFIG)
        if suffix:
            owed[f"weights{suffix}"] = adapter.weights or _inside(adapter.directory, ADAPTER[0])
    if not bare:
        owed["optimizer"] = OPTIMIZER
        owed["scheduler"] = SCHEDULER
        if owes_scaler(arguments, state):
            owed["scaler"] = SCALER
    if not bare and fsdp.recognises(files, arguments):
        layout = fsdp.apply(files, layout, owed)
    elif not bare and deepspeed.recognises(files, arguments):
        layout = deepspeed.apply(files, layout, owed, state, (texts or {}).get(LATEST))
    elif parts := tuple(sorted(name for name in files.root if _sharded_optimizer(name) and files.has(name))):
        owed.pop("optimizer", None)  # TPU or SageMaker: one optimizer file per rank, under other names
        layout = layout._replace(sharded_optimizer=parts)
    rng = _rng(world) if not bare and owes_rng(arguments) else ()
    return layout._replace(
        owed=owed,
        owed_rng=rng,
        missing={role: name for role, name in owed.items() if not files.has(name)},
        missing_rng=tuple(name for name in rng if not files.has(name)),
    )


def _weights(files: Files) -> Layout:
    """Find the weights of this run, and those that Trainer would load in their place.

    Trainer's precedence: a single full-model file, then adapters (if the model is a PeftModel), then shards.
    """
    adapters = _adapters(files)
    index = files.first(*INDEXES)
    shards = tuple(sorted(name for name in files.root if re.fullmatch(SHARD, name) and files.has(name)))
    single = tuple(name for name in FULL if files.has(name))
    # PeftModel.save_pretrained writes no config.json and no full weights. With both of them and adapters in
    # subdirectories only, the model itself was saved and the adapters are extra copies.
    foreign = not any(adapter.directory == "" for adapter in adapters) and files.has(CONFIG)
    if adapters and not (foreign and (single or shards)):
        found = tuple(adapter.weights for adapter in adapters if adapter.weights)
        return Layout("adapter", found, adapters=adapters, shadowing=single)
    if shards or index:
        suffix = "safetensors" if index == INDEXES[0] or not index else "bin"
        own = tuple(name for name in shards if name.endswith(suffix)) or shards
        return Layout("full", own, index, shadowing=single, config=files.only(CONFIG))
    modules = _of_modules(files) if single else ()
    return Layout("full" if single else "unknown", (*single[:1], *modules), config=files.only(CONFIG))


def _of_modules(files: Files) -> tuple[str, ...]:
    """Find the weights of the further modules of sentence-transformers, such as ``2_Dense/model.safetensors``."""
    if not files.has(MODULES):
        return ()
    homes = (name for name in files.directories() if re.match(r"[0-9]+_", name, re.ASCII))
    return tuple(path for home in homes if (path := files.first(*(_inside(home, name) for name in FULL))))


def _adapters(files: Files) -> tuple[AdapterFiles, ...]:
    """Find adapters in the root (which PEFT calls "default") and one level below."""
    found = []
    for directory in ("", *(name for name in files.directories() if checkpoint_step(name) is None)):
        config = files.only(_inside(directory, ADAPTER_CONFIG))
        weights = files.first(*(_inside(directory, name) for name in ADAPTER))
        if config or weights:
            found.append(AdapterFiles(directory or "default", directory, config, weights))
    return tuple(sorted(found, key=lambda adapter: adapter.directory))


def _owed_weights(files: Files, layout: Layout) -> str:
    """Return the file that Trainer needs first to find any weights."""
    if layout.kind == "adapter":
        root = next((adapter for adapter in layout.adapters if not adapter.directory), None)
        first = root or layout.adapters[0]
        return first.weights or _inside(first.directory, ADAPTER[0])
    if layout.shard_index:
        return layout.shard_index
    if layout.weights and re.fullmatch(SHARD, layout.weights[0]):
        return INDEXES[0] if layout.weights[0].endswith("safetensors") else INDEXES[1]
    # PEFT writes a README.md and no config.json; everything else that Trainer saves by itself has a config.json
    # or is a plain module, whose weights have the same name.
    guess = ADAPTER[0] if files.has("README.md") and not files.has(CONFIG) else FULL[0]
    return layout.weights[0] if layout.weights else guess


def _rng(world: int | None) -> tuple[str, ...]:
    return (RNG,) if world is None or world == 1 else tuple(f"rng_state_{rank}.pth" for rank in range(world))


def _sharded_optimizer(name: str) -> bool:
    return name.startswith(f"{OPTIMIZER}_") or (name.startswith("rank") and name.endswith(f"-{OPTIMIZER}"))


def _inside(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name
