"""Whether a checkpoint can be resumed from with another number of processes than saved it."""

from typing import NamedTuple

from audit.facts.checkpoint import Checkpoint
from audit.facts.file import is_metadata, rank_of_metadata


class WorldChange(NamedTuple):
    """``before`` processes saved the checkpoint, ``now`` would resume from it; ``text`` says what becomes of that."""

    before: int
    now: int
    works: bool
    text: str


def world_of(checkpoint: Checkpoint) -> int | None:
    """How many processes saved a checkpoint: by DeepSpeed's engine, the arguments or the files; None if unknown."""
    zero = checkpoint.optional("zero")
    if zero is not None:
        return int(zero.engine.dp_world_size)
    arguments = checkpoint.optional("arguments")
    said = arguments.get("num_processes") if arguments else None
    layout = checkpoint.optional("layout")
    return said if isinstance(said, int) else layout.world_size if layout is not None else None


def world_change(checkpoint: Checkpoint, processes: int) -> WorldChange | None:
    """Say what a resume with ``processes`` would do, None if it is as many as before or that is not known."""
    before = world_of(checkpoint)
    if not before or before == processes:
        return None
    works, how = _loads(checkpoint)
    random = f"; {_random(before, processes, bool(checkpoint.backend.state_file))}" if works else ""
    return WorldChange(before, processes, works, f"{how}{random}")


def _loads(checkpoint: Checkpoint) -> tuple[bool, str]:
    """Whether the states load in another number of processes, and how."""
    layout = checkpoint.layout
    if layout.kind == "deepspeed":
        # DeepSpeed 0.19, ZeROOptimizer._load_zero_checkpoint: ZeRORuntimeException, unless elastic_checkpoint is on.
        zero = checkpoint.optional("zero")
        if not layout.sharded_optimizer:
            return True, "without ZeRO every process loads the same state of DeepSpeed"
        if zero is not None and zero.engine.elastic:
            return True, "with elastic_checkpoint DeepSpeed divides the partitions of ZeRO anew"
        return False, "DeepSpeed loads the partitions of ZeRO in as many processes as saved them only"
    sharded = (*layout.sharded_weights, *layout.sharded_optimizer)
    if any(rank_of_metadata(path) is not None for path in sharded):
        # torch 2.13, state_dict_loader._load_state_dict: process R reads __R.metadata, which knows its own parts alone.
        return False, "each process loads what the process of its number saved: it was saved without the others"
    if any(is_metadata(path) for path in sharded):
        return True, "the sharded state is divided anew"
    if sharded:
        return False, "each process loads the file that the process of its number saved"
    return True, "weights, optimizer and schedule are the same in every process"


def _random(before: int, now: int, of_trainer: bool) -> str:
    """What becomes of random states: each process looks for its own. Trainer names that of a single one differently."""
    if 1 in (before, now) and of_trainer:
        return "no process finds its random state, and each begins with that of its start"
    if now > before:
        which = f"process {before}" if now == before + 1 else f"processes {before} to {now - 1}"
        return f"{which} will find no random state"
    which = f"process {now}" if before == now + 1 else f"processes {now} to {before - 1}"
    return f"the random states of {which} are not used"


__all__ = ["WorldChange", "world_change", "world_of"]
