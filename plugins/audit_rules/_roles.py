"""Which files of a checkpoint a resume reads; used by the rules over bytes and malice."""

from audit.plugin import Layout


def read_by_resume(layout: Layout) -> frozenset[str]:
    """Return the paths of all files that the trainer opens when it resumes."""
    return layout.read_by_resume


def loaded_as(path: str, layout: Layout) -> str:
    """Return how a torch file is loaded, for :func:`audit.formats.torch_names.refused_in_torch_file`."""
    if path in layout.rng:
        return "rng"
    if path.rpartition("/")[2] == ".metadata":
        return "metadata"
    if layout.kind == "deepspeed" and path in (*layout.sharded_weights, *layout.sharded_optimizer):
        return "deepspeed"
    return ""
