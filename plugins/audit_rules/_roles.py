"""How a resume loads the torch files of a checkpoint."""

from audit.plugin import Damage, DamageKind, File, Layout

METADATA = ".metadata"


def loaded_as(path: str, layout: Layout) -> str:
    """Return how a torch file is loaded, for ``refused_in_torch_file``."""
    if path in layout.rng:
        return "rng"
    if path.rpartition("/")[2] == METADATA:
        return "metadata"
    if layout.kind == "deepspeed" and path in (*layout.sharded_weights, *layout.sharded_optimizer):
        return "deepspeed"
    return ""


def is_large_metadata(file: File, damage: Damage) -> bool:
    """Say whether it is the metadata of a sharded state with more parts than are read: legitimate, and not judged."""
    return damage.kind is DamageKind.OVERSIZED and file.entry.name == METADATA
