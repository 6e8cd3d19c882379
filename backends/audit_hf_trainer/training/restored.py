"""The state of a trainer, compared value by value with the files of a checkpoint.

Files are read as Trainer reads them, without executing a pickle, and mapped, so that the state is not in memory twice.
A value of a file is rounded to the type that it has in the training (``Optimizer.load_state_dict`` does that).
"""

import json
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from audit.plugin import (
    OPTIMIZER_PART,
    RANDOM_PART,
    SCHEDULER_PART,
    WEIGHTS_PART,
    Checkpoint,
    Compared,
    NotApplicable,
    StoredState,
    load_plugins,
    open_run,
)
from audit_hf_trainer.names import OPTIMIZER, RNG, SCHEDULER
from audit_hf_trainer.training.tally import MISSING, Tally, loaded_file

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
CHANGED = frozenset({"lr", "initial_lr", "weight_decay", "betas", "eps", "base_lrs", "_last_lr"})
"""What ``audit train --change`` may put over the values of the checkpoint."""


DEEPSPEED, FSDP = "DeepSpeed", "FSDP"
BACKEND = "hf-trainer"


def compare_state(trainer: Any, checkpoint: str, changed: bool = False) -> tuple[Compared, ...]:
    """Compare weights, optimizer and schedule; ``changed``: settings were changed after the load.

    Of a state that is divided among processes, each compares what it holds itself.
    """
    skip = CHANGED if changed else frozenset()
    kind = divided_by(trainer)
    if kind is None:
        return (
            _weights(trainer, checkpoint),
            _of_file(OPTIMIZER_PART, os.path.join(checkpoint, OPTIMIZER), trainer.optimizer, skip | {"params"}),
            _schedule(trainer, checkpoint, skip),
        )
    try:
        with StoredState(_opened(checkpoint)) as stored:
            if kind == DEEPSPEED:
                from audit_hf_trainer.training.partitioned import compare_engine, compare_engine_schedule

                own = compare_engine_schedule(trainer, stored, skip)
                schedule = own or _schedule(trainer, checkpoint, skip)
                return (*compare_engine(trainer, stored, skip), schedule)
            from audit_hf_trainer.training.divided import compare_divided

            return (*compare_divided(trainer, checkpoint, stored, skip), _schedule(trainer, checkpoint, skip))
    except NotApplicable as why:
        missed = f"{kind} has divided it among processes, and {why}"
        parts = (Compared(part, missed=missed) for part in (WEIGHTS_PART, OPTIMIZER_PART))
        return (*parts, _schedule(trainer, checkpoint, skip))


def divided_by(trainer: Any) -> str | None:
    """Return what has divided the state among processes, None if each has all of it."""
    if getattr(trainer, "is_deepspeed_enabled", False):
        return DEEPSPEED
    return FSDP if getattr(trainer, "is_fsdp_enabled", False) else None


def _opened(checkpoint: str) -> Checkpoint:
    """The facts of a checkpoint by its path. Raises NotApplicable."""
    home, name = os.path.split(os.path.abspath(checkpoint))
    found = open_run(home, [load_plugins().backend(BACKEND)], depth="quick")
    try:
        return next(item for item in found.checkpoints if item.name == name)
    except StopIteration:
        raise NotApplicable(f"{checkpoint} is not found as a checkpoint") from None


def _schedule(trainer: Any, checkpoint: str, skip: frozenset[str]) -> Compared:
    return _of_file(SCHEDULER_PART, os.path.join(checkpoint, SCHEDULER), trainer.lr_scheduler, skip)


def compare_random_states(trainer: Any, checkpoint: str) -> Compared:
    """Compare the states of all generators of this process with those that were saved."""
    import numpy as np
    from transformers.trainer_pt_utils import safe_globals

    rank, several = trainer.args.process_index, trainer.args.world_size > 1
    name = f"rng_state_{rank}.pth" if several else RNG
    path = os.path.join(checkpoint, name)
    if not os.path.isfile(path):
        return Compared(RANDOM_PART, missed=f"there is no {name}")
    with safe_globals():
        saved = torch.load(path, weights_only=True, map_location="cpu")
    tally = Tally(RANDOM_PART)
    live: dict[str, Any] = {"python": random.getstate(), "cpu": torch.random.get_rng_state()}
    for key, there in live.items():
        if key in saved:
            tally.value(key, saved[key], there)
    if "numpy" in saved:
        kind, words, *rest = saved["numpy"]
        mine, numbers, *others = np.random.get_state(legacy=True)
        tally.value("numpy", [kind, *rest, list(map(int, words))], [mine, *others, list(map(int, numbers))])
    if "cuda" in saved and torch.cuda.is_available():  # not tried: there was no device
        devices = torch.cuda.get_rng_state() if several else torch.cuda.get_rng_state_all()
        tally.value("cuda", saved["cuda"], devices)
    return tally.result()


def merged(parts: Sequence[Compared], divided: bool = False) -> Compared:
    """Return one part as all processes have compared it: each has a random state of its own, the rest they share.

    ``divided``: each has a piece of the weights and of the optimizer's state, too, and has compared that.

    What differs, or was missed, in another process than the first is said to be there.
    """
    own = (RANDOM_PART, WEIGHTS_PART, OPTIMIZER_PART) if divided else (RANDOM_PART,)
    count = sum if parts[0].part in own else max

    def said(field: str) -> str | None:
        texts = ((rank, getattr(part, field)) for rank, part in enumerate(parts))
        rank, text = next(((rank, text) for rank, text in texts if text is not None), (0, None))
        return f"process {rank}: {text}" if rank else text

    return Compared(
        parts[0].part,
        count(part.values for part in parts),
        count(part.different for part in parts),
        said("first"),
        max((part.largest for part in parts if part.largest is not None), default=None),
        said("missed"),
    )


def _weights(trainer: Any, checkpoint: str) -> Compared:
    tally = Tally(WEIGHTS_PART)
    model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    if hasattr(model, "peft_config"):
        from peft import get_peft_model_state_dict

        for name in model.peft_config:
            home = checkpoint if name == "default" else os.path.join(checkpoint, name)
            found = get_peft_model_state_dict(model, adapter_name=name)
            _compare_tensors(tally, home, ADAPTERS, found, complain=True)
    else:
        live = model.state_dict()
        others = _compare_tensors(tally, checkpoint, WEIGHTS, live)
        if others:
            _compare_renamed(tally, checkpoint, model, live)
    return tally.result()


def _compare_tensors(
    tally: Tally, home: str, names: tuple[str, ...], live: Mapping[str, Any], complain: bool = False
) -> int:
    """Compare tensors by name; return how many of the file have another name in the model."""
    known = others = 0
    for name, saved in _tensors(home, names):
        known += 1
        if name in live:
            tally.value(name, saved, live[name])
        else:
            others += 1
    if not known:
        tally.missed.append(f"there is no {names[0]} in {os.path.basename(home)}")
    if others and complain:
        tally.missed.append(f"{others} of {known} tensors have other names in the model than in the file")
    return others


def _compare_renamed(tally: Tally, checkpoint: str, model: Any, live: Mapping[str, Any]) -> None:
    """Compare tensors that ``save_pretrained`` has written under other names, or in other pieces: load them anew.

    Transformers 5 does that for mixtures of experts, and Trainer 5.24 does not undo it on a resume.
    """
    known = {name for name, _ in _tensors(checkpoint, WEIGHTS)}
    try:
        whole = type(model).from_pretrained(checkpoint, local_files_only=True).state_dict()
    except Exception as error:  # a class without it, or one that needs more
        tally.missed.append(f"tensors have other names in the model than in the file, and it cannot be loaded: {error}")
        return
    for name, saved in whole.items():
        if name not in known:
            tally.value(name, saved, live.get(name, MISSING))


def _tensors(home: str, names: tuple[str, ...]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors of the first of these files that is there, or of its shards."""
    from safetensors import safe_open

    for name in names:
        path, index = os.path.join(home, name), os.path.join(home, f"{name}.index.json")
        files = [path] if os.path.isfile(path) else []
        if not files and os.path.isfile(index):
            with open(index, encoding="utf-8") as file:
                shards = json.load(file)["weight_map"].values()
            files = [os.path.join(home, os.path.basename(shard)) for shard in dict.fromkeys(shards)]
        for file_name in files:
            if name.endswith(".safetensors"):
                with safe_open(file_name, framework="pt", device="cpu") as tensors:
                    for key in tensors.keys():  # noqa: SIM118  not a dictionary
                        yield key, tensors.get_tensor(key)
            else:
                yield from loaded_file(file_name).items()
        if files:
            return


def _of_file(part: str, path: str, live: Any, skip: frozenset[str]) -> Compared:
    if not os.path.isfile(path):
        return Compared(part, missed=f"there is no {os.path.basename(path)}")
    tally = Tally(part, skip)
    tally.value("", loaded_file(path), live.state_dict())
    return tally.result()
