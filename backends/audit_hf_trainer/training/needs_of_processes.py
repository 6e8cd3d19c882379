"""Arguments that are for several processes, where one trains, and the other way round.

Sources: transformers 5.24, ``trainer.py`` ("Using fsdp only works in distributed training.", whatever the device is)
and ``training_args.py``; accelerate 1.15, ``state.py``, which joins no group where no launcher has set LOCAL_RANK.
Measured: without an accelerator two processes with ``fsdp`` train, as DDP.
"""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from audit.plugin import ConfigError, LegRequest, did_you_mean
from audit_hf_trainer.fsdp import WHOLE, loses_moments

_LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK")
"""What DeepSpeed asks for in the environment; without one of them it asks MPI."""
_BACKENDS = ("gloo", "nccl", "mpi", "ucc", "xccl")
_SEVERAL = "is for several processes, and one trains: start them with torchrun, or remove the key"
_PLANNED = f"{_SEVERAL}; audit plan --processes N plans for N of them"


def launched() -> bool:
    """Whether a launcher such as torchrun has started this process."""
    return "LOCAL_RANK" in os.environ or int(os.environ.get("WORLD_SIZE", "1")) > 1


def refuse_backend(name: Any, processes: int) -> None:
    """Raise ConfigError for ``arguments.ddp_backend`` if one process trains, or if torch has no such backend here.

    For a process that a launcher has started torch itself says so.
    """
    import torch

    if processes < 2:
        raise ConfigError(f"arguments.ddp_backend: {_PLANNED}")
    if not torch.distributed.is_backend_available(str(name).lower()):
        raise ConfigError(
            f"arguments.ddp_backend: torch has no backend {name!r} on this machine{did_you_mean(str(name), _BACKENDS)}"
        )


def refuse_processes(request: LegRequest, arguments: Any) -> None:
    """Raise ConfigError for FSDP in one process, and for a trainer of one's own in several."""
    several = max(request.processes, arguments.world_size)
    if request.settings.get("trainer") and several > 1:
        raise ConfigError(
            f"trainer: {several} processes train, and accelerate would train some examples twice to fill their last step; "
            "train with one process, or without [trainer]"
        )
    if several > 1 and getattr(getattr(arguments, "accelerator_config", None), "split_batches", False):
        # Measured with accelerate 1.15 and two processes: a step takes fewer examples than was planned.
        raise ConfigError(
            "arguments.accelerator_config: with split_batches a step takes the examples of one process, and the others of the "
            "file would never be trained; remove it"
        )
    if arguments.fsdp:
        _refuse_fsdp(several, arguments)
        _refuse_lost_moments(arguments)
    if getattr(arguments, "deepspeed", None) and several < 2:
        _refuse_unlaunched()
    options = request.settings.get("model", {}).get("options", {})
    if isinstance(options.get("tp_size"), int) and options["tp_size"] > 1 and several < 2:
        raise ConfigError(f"model.options.tp_size: {_PLANNED}")


def _refuse_unlaunched() -> None:
    """Refuse DeepSpeed in one process that no launcher has started (deepspeed 0.19, ``comm.init_distributed``)."""
    if not all(name in os.environ for name in _LAUNCHED) and find_spec("mpi4py") is None:
        raise ConfigError(
            "arguments.deepspeed: needs a launcher, for one process too: torchrun --nproc-per-node 1 -m audit ...; or "
            "install mpi4py"
        )


def _refuse_fsdp(several: int, arguments: Any) -> None:
    config = arguments.fsdp_config if isinstance(arguments.fsdp_config, Mapping) else {}
    if config.get("xla"):
        if find_spec("torch_xla") is None:
            raise ConfigError(
                "arguments.fsdp_config: xla needs torch_xla, which is not installed: pip install torch_xla"
            )
        return
    if several < 2 and arguments.parallel_mode.value != "distributed":
        raise ConfigError(f"arguments.fsdp: {_PLANNED}")


def _refuse_lost_moments(arguments: Any) -> None:
    """Refuse FSDP 1 with shards: each batch after the first is a resume, and would begin with an empty optimizer."""
    if loses_moments(getattr(arguments, "fsdp_plugin_args", None)):
        raise ConfigError(
            "arguments.fsdp_config: accelerate does not load the optimizer's moments of FSDP version 1 from shards; set "
            f'version = 2, or state_dict_type = "{WHOLE}"'
        )
