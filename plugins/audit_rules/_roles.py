"""Which files of a checkpoint a resume reads; used by the rules over bytes and malice."""

from audit.plugin import Layout


def read_by_resume(layout: Layout) -> frozenset[str]:
    """Return the paths of all files that the trainer opens when it resumes, adapter configurations included.

    ``training_args.bin``, tokenizers and ``config.json`` are not among them: Trainer writes them for people.
    """
    single = (layout.shard_index, layout.state, layout.optimizer, layout.scheduler, layout.scaler)
    adapters = [path for adapter in layout.adapters for path in (adapter.config, adapter.weights)]
    several = (layout.weights, layout.shadowing, layout.rng, layout.sharded_weights, layout.sharded_optimizer)
    return frozenset(path for path in (*single, *adapters, *(path for group in several for path in group)) if path)


def loaded_as(path: str, layout: Layout) -> str:
    """Return how a torch file is loaded, for :func:`audit.formats.torch_names.refused_in_torch_file`."""
    if path in layout.rng:
        return "rng"
    if path.rpartition("/")[2] == ".metadata":
        return "metadata"
    if layout.kind == "deepspeed" and path in (*layout.sharded_weights, *layout.sharded_optimizer):
        return "deepspeed"
    return ""
