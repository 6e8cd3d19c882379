"""What a trainer is doing with a checkpoint right now, as far as names and times show it.

Trainer writes ``trainer_state.json`` last, and deletes old checkpoints right after it. Two things do not fit into that:
the other processes of a distributed training write their random states whenever they get there, and a deletion takes its
time. Both are short; a checkpoint whose youngest file is older than the settle time is judged as it lies.
"""

import time
from typing import TYPE_CHECKING, NamedTuple

from audit.formats.damage import Damage
from audit.storage import FILE, Entry

if TYPE_CHECKING:
    from audit.facts.checkpoint import Checkpoint

SENTINEL = "checkpoint-is-incomplete.txt"
"""Trainer 5.x, trainer_jit_checkpoint.py: written first, removed last, read by nobody."""

SECOND_NS = 1_000_000_000
TICK_NS = 20_000_000
"""Nanoseconds. Times of files come from a clock that ticks every 1 to 10 milliseconds."""


class Completeness(NamedTuple):
    """Whether the trainer finished writing, and why not.

    ``state`` is "complete", "in progress", "being deleted" or "incomplete".
    """

    state: str
    reason: str = ""


def still_to_come(checkpoint: "Checkpoint", state: Entry | None) -> str | None:
    """Say what is still being written after the state file was made, None where nothing is.

    These are the random states of other processes. Deleting one leaves another time: the directory's is later then.
    """
    run = checkpoint.run
    if state is None or state.kind != FILE or run.now_ns - state.mtime_ns >= run.settle_ns:
        return None
    changed = run.entry_of(checkpoint.name).mtime_ns
    if changed > state.mtime_ns:  # making the state file set the time of the directory, filling it that of the file
        return None
    names = run.backend.layout(checkpoint.entries, None, None)
    if not names.rng or ((names.world_size or 1) == 1 and not names.missing_rng):
        return None  # one process, as nearly always: the arguments need not be read for that
    arguments = checkpoint.optional("early_arguments")
    if arguments is None or isinstance(arguments, Damage):
        return None
    layout = run.backend.layout(checkpoint.entries, arguments.values, None)
    others = [name for name in layout.missing_rng if name != layout.owed_rng[0]]
    return f"{others[-1]} of another process is not there yet" if others else None


def half_written(checkpoint: "Checkpoint") -> int:
    """Return how long to wait, in nanoseconds, until a damaged file is no longer one that may be half written.

    Between making a file and filling it a trainer takes less than a second. Only what may be written when the state
    file is there already: that file itself, and random states.
    """
    layout = checkpoint.optional("layout")
    if layout is None:
        return 0
    last = {checkpoint.run.backend.state_file, *layout.rng}
    ages = [time.time_ns() - file.entry.mtime_ns for file, _ in checkpoint.damages if file.path in last]
    return max((SECOND_NS - age for age in ages if 0 <= age < SECOND_NS), default=0)


def rotated_by(checkpoint: "Checkpoint") -> int | None:
    """Return ``save_total_limit`` where rotation deletes the checkpoint right now, else None.

    It does so right after a save: a newer checkpoint has just been written to its end, there are more than the limit
    allows, and since then this directory has changed, but none of its files. The directory of a checkpoint that was
    damaged by hand may look like that for the settle time, and only in a run with too many checkpoints.
    """
    run = checkpoint.run
    changed = run.entry_of(checkpoint.name).mtime_ns
    if run.now_ns - changed >= run.settle_ns:
        return None
    if any(item.kind == FILE and item.mtime_ns > changed - TICK_NS for item in checkpoint.entries.values()):
        return None
    for other in reversed(run.checkpoints):
        state = other.entries.get(run.backend.state_file)
        if other.step <= checkpoint.step:
            return None
        if state is not None and state.mtime_ns <= changed + TICK_NS and run.now_ns - state.mtime_ns < run.settle_ns:
            found = other.optional("early_arguments")
            limit = None if found is None or isinstance(found, Damage) else found.values.get("save_total_limit")
            return limit if isinstance(limit, int) and 0 < limit < len(run.checkpoints) else None
    return None
