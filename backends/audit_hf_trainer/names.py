"""File names of Trainer, PEFT, accelerate and DeepSpeed, and a view of a directory's files by name.

Sources: transformers/trainer.py (constants of ``_load_from_checkpoint``), peft/utils/constants.py,
accelerate/utils/constants.py, deepspeed/runtime/engine.py.
"""

import re
from collections.abc import Mapping

from audit.plugin import DIRECTORY, FILE, LINK, SPECIAL, Entry

STATE = "trainer_state.json"
ARGUMENTS = "training_args.bin"
OPTIMIZER = "optimizer.pt"
SCHEDULER = "scheduler.pt"
SCALER = "scaler.pt"
RNG = "rng_state.pth"
CONFIG = "config.json"
LATEST = "latest"

# In the order in which Trainer takes them.
FULL = ("model.safetensors", "pytorch_model.bin")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
ADAPTER = ("adapter_model.safetensors", "adapter_model.bin")
ADAPTER_CONFIG = "adapter_config.json"

SHARD = re.compile(r"(model|pytorch_model)-[0-9]{5}-of-[0-9]{5}\.(safetensors|bin)", re.ASCII)
RNG_OF_RANK = re.compile(r"rng_state_([0-9]{1,6})\.pth", re.ASCII)

# More processes than any run has; a larger number is ignored, so that an untrusted one cannot cause a billion file
# names.
MOST_PROCESSES = 16384


class Files:
    """The entries of one checkpoint by name, as Trainer's ``os.path.isfile`` would see them."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.entries = entries
        self.root = tuple(name for name in entries if "/" not in name)

    def has(self, name: str) -> bool:
        """Say whether ``name`` is there and not a directory. Links and devices count: other rules check those."""
        entry = self.entries.get(name)
        return entry is not None and entry.kind in (FILE, LINK, SPECIAL)

    def only(self, name: str) -> str | None:
        """Return ``name`` if it is a file, else None."""
        return name if self.has(name) else None

    def first(self, *names: str) -> str | None:
        """Return the first of ``names`` that is a file, else None."""
        return next((name for name in names if self.has(name)), None)

    def directories(self) -> tuple[str, ...]:
        """Return the names of the direct subdirectories."""
        return tuple(name for name in self.root if self.entries[name].kind == DIRECTORY)

    def below(self, directory: str) -> tuple[str, ...]:
        """Return the paths of all files below a subdirectory, sorted."""
        return tuple(sorted(name for name in self.entries if name.startswith(f"{directory}/") and self.has(name)))
