"""How a resume loads the torch files of a checkpoint."""

from audit.plugin import Layout, is_metadata


def loaded_as(path: str, layout: Layout) -> str:
    """Return how a torch file is loaded, for ``refused_in_torch_file``."""
    if is_metadata(path):
        return "metadata"
    if layout.parts:  # one file for all that is not sharded, which PyTorch Lightning loads with everything allowed
        return "whole"
    if path in layout.rng:
        return "rng"
    if layout.kind == "deepspeed" and path in (*layout.sharded_weights, *layout.sharded_optimizer):
        return "deepspeed"
    return ""
