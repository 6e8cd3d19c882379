"""File names of Trainer, PEFT, accelerate and DeepSpeed.

Sources: transformers/trainer.py (constants of ``_load_from_checkpoint``), peft/utils/constants.py,
accelerate/utils/constants.py, deepspeed/runtime/engine.py.
"""

STATE = "trainer_state.json"
ARGUMENTS = "training_args.bin"
OPTIMIZER = "optimizer.pt"
SCHEDULER = "scheduler.pt"
SCALER = "scaler.pt"
RNG = "rng_state.pth"
CONFIG = "config.json"
LATEST = "latest"
MODULES = "modules.json"  # of sentence-transformers

# In the order in which Trainer takes them.
FULL = ("model.safetensors", "pytorch_model.bin")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
ADAPTER = ("adapter_model.safetensors", "adapter_model.bin")
ADAPTER_CONFIG = "adapter_config.json"

SHARD = r"(model|pytorch_model)-[0-9]{5}-of-[0-9]{5}\.(safetensors|bin)"
RNG_OF_RANK = r"rng_state_([0-9]{1,6})\.pth"
SHARD_OF_RANK = (
    r"(?P<directory>(?:pytorch_model(?:_fsdp)?|optimizer)_[0-9]{1,4})/__(?P<rank>[0-9]{1,6})_[0-9]{1,6}\.distcp"
)
"""Of FSDP: torch.distributed.checkpoint, ``filesystem.py``."""

# More processes than any run has; a larger number is ignored, so that an untrusted one cannot cause a billion file
# names.
MOST_PROCESSES = 16384
