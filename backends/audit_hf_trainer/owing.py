"""What a checkpoint must have beyond its weights, according to the training arguments and the trainer state."""

import re
from collections.abc import Mapping
from typing import Any

from audit.plugin import Files
from audit_hf_trainer.names import (
    ARGUMENTS,
    MOST_PROCESSES,
    OPTIMIZER,
    RNG,
    RNG_OF_RANK,
    SCHEDULER,
    SHARD_OF_RANK,
    STATE,
)


def weights_only(files: Files, arguments: Mapping[str, Any] | None) -> bool:
    """Say whether the checkpoint was saved without optimizer, scheduler and random states.

    It is if ``save_only_model`` is set, or if a finished checkpoint (Trainer writes the state last) has none of the
    three, as ``save_model()`` leaves it. If only one or two are missing, they were deleted.
    """
    if arguments is not None and arguments.get("save_only_model") is True:
        return True
    left = [name for name in files.root if not name.startswith((STATE, ARGUMENTS))]
    resume = (OPTIMIZER.partition(".")[0], SCHEDULER, "rng_state", "pytorch_model_fsdp", "global_step", "latest")
    return files.has(STATE) and bool(left) and not any(name.startswith(resume) for name in left)


def world_size(files: Files, arguments: Mapping[str, Any] | None) -> int | None:
    """Return the number of processes that trained, from the arguments, the random states or FSDP's shards, else None.

    Beside the shards are no arguments, and a process that was killed before it wrote its random state wrote its shards
    before. Data parallelism inside one process (several GPUs, no launcher) is one process and one rng_state.pth.
    """
    said = (arguments or {}).get("num_processes")
    if isinstance(said, int) and not isinstance(said, bool) and 1 <= said <= MOST_PROCESSES:
        return said
    numbers = [int(found[1]) for name in files.root if (found := re.fullmatch(RNG_OF_RANK, name)) and files.has(name)]
    if numbers or not files.has(RNG):
        numbers += _ranks_of_shards(files)
    if numbers and max(numbers) < MOST_PROCESSES:
        return max(numbers) + 1
    return 1 if files.has(RNG) else None


def _ranks_of_shards(files: Files) -> set[int]:
    """The ranks that have shards in all of FSDP's directories: a file left from another save is in one of them only."""
    found: dict[str, set[int]] = {}
    for name in files.entries:
        if (shard := re.fullmatch(SHARD_OF_RANK, name)) is not None:
            found.setdefault(shard["directory"], set()).add(int(shard["rank"]))
    return set.intersection(*found.values()) if found else set()


def ranks(files: Files) -> tuple[str, ...]:
    """Return the files of random states, in the order of their ranks."""
    found = [
        (int(match[1]), name) for name in files.root if (match := re.fullmatch(RNG_OF_RANK, name)) and files.has(name)
    ]
    return ((RNG,) if files.has(RNG) else ()) + tuple(name for _, name in sorted(found))


def owes_rng(arguments: Mapping[str, Any] | None) -> bool:
    """Say whether random states are saved: since transformers 4.6, which introduced the argument ``push_to_hub``."""
    return arguments is None or "output_dir" not in arguments or "push_to_hub" in arguments


def owes_scaler(arguments: Mapping[str, Any] | None, state: Mapping[str, Any] | None) -> bool:
    """Say whether there was a gradient scaler and this version of transformers saved it.

    One exists in fp16 training on an accelerator: accelerate makes none on a CPU, and neither apex nor DeepSpeed
    (asked by the caller) uses it. ``_n_gpu`` is the count that TrainingArguments keeps, 0 on CPU and TPU.
    4.31 to 4.49 never saved it; ``best_global_step`` marks the states of the versions after them.
    """
    if arguments is None or state is None or "best_global_step" not in state:
        return False
    said = arguments.get
    on_cpu = bool(said("use_cpu") or said("no_cuda")) or said("_n_gpu") == 0
    apex = bool(said("use_apex")) or said("half_precision_backend") == "apex"
    return said("fp16") is True and said("bf16") is not True and not on_cpu and not apex and not said("deepspeed")


def launched_as(arguments: Mapping[str, Any] | None, kind: str) -> bool:
    """Say whether accelerate's ``DistributedType`` of the run was ``kind`` ("FSDP", "DEEPSPEED").

    The saved arguments have the type that was used, even if only the launcher's configuration set it: accelerate writes
    it back into the state in them (``AcceleratorState.__init__``).
    """
    state = (arguments or {}).get("distributed_state")
    return isinstance(state, Mapping) and state.get("distributed_type") == kind
