"""What torch's own loader makes of a sharded state. Needs torch."""

import warnings
from pathlib import Path
from typing import Any

from tests.dcp import MODEL, OPTIMIZER

Loaded = dict[str, Any]


def load(checkpoint: Path, clean: Path) -> Loaded:
    """Load both directories of a checkpoint into what a process holds that resumes: the names and shapes of ``clean``.

    Raises whatever ``dcp.load`` raises.
    """
    import torch
    import torch.distributed.checkpoint as dcp

    found: Loaded = {}
    for folder in (MODEL, OPTIMIZER):
        metadata = dcp.FileSystemReader(clean / folder).read_metadata().state_dict_metadata
        state: Loaded = {
            name: torch.full(entry.size, 0.125, dtype=entry.properties.dtype) if hasattr(entry, "size") else None
            for name, entry in metadata.items()
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is one process
            dcp.load(state, storage_reader=dcp.FileSystemReader(checkpoint / folder), no_dist=True)
        found |= state
    return found


def outcome(checkpoint: Path, clean: Path) -> str:
    """Return "crashes", "silent" (loads other values without a word) or "same"."""
    import torch

    right = load(clean, clean)
    try:
        found = load(checkpoint, clean)
    except BaseException as error:  # torch wraps the errors of its ranks in a BaseException of its own
        if isinstance(error, KeyboardInterrupt):
            raise
        return "crashes"
    same = all(
        torch.equal(value, found[name]) if isinstance(value, torch.Tensor) else value == found[name]
        for name, value in right.items()
    )
    return "same" if same else "silent"
