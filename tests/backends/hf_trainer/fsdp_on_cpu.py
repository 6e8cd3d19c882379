"""FSDP without a GPU. Imports nothing of the tests: a script that is killed loads it by its path."""

from typing import Any

ARGUMENTS: dict[str, Any] = {
    "ddp_backend": "gloo",
    "fsdp": True,
    "fsdp_config": {
        "version": 2,
        "state_dict_type": "SHARDED_STATE_DICT",
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"],
    },
}
"""What Trainer is given to save a sharded state."""


def allow_fsdp_on_cpu() -> None:
    """Make accelerate believe in several GPUs: without them it leaves FSDP out and says nothing."""
    import transformers
    from accelerate import DistributedType, PartialState

    make = transformers.Trainer.create_accelerator_and_postprocess

    def pretend(trainer: Any) -> None:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        make(trainer)

    transformers.Trainer.create_accelerator_and_postprocess = pretend


def allow_version_1() -> None:
    """FSDP 1 compares the device that accelerate names with that of the model, ``cpu`` with ``cpu:0``."""
    import torch
    from torch.distributed.fsdp import FullyShardedDataParallel

    make = FullyShardedDataParallel.__init__

    def of_type(module: Any, *values: Any, **more: Any) -> None:
        make(module, *values, **{**more, "device_id": torch.device("cpu")})

    FullyShardedDataParallel.__init__ = of_type
