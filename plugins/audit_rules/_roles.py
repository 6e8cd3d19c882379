"""Which files play a part, and how a resume loads the torch files of a checkpoint."""

from audit.plugin import Layout, NotApplicable, is_metadata


def schedule_in(layout: Layout) -> str:
    """Return the file with the learning-rate scheduler's state: its own, or the metadata of the state that it is in.

    Raises NotApplicable for DeepSpeed without a file of its own: the engine then keeps the schedule.
    """
    if layout.scheduler is None and layout.kind == "deepspeed":
        raise NotApplicable("DeepSpeed's engine keeps the schedule, and moves it itself")
    tables = (path for path in (*layout.sharded_optimizer, *layout.sharded_weights) if is_metadata(path))
    return layout.scheduler or next(tables, "")


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
