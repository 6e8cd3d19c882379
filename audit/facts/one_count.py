"""Checkpoints whose names count different things, as accelerate's ``epoch_1`` beside ``step_500``, in one order."""

from typing import TYPE_CHECKING

from audit.backend.protocol import names_count_steps
from audit.facts.listing import Listing
from audit.storage import FILE

if TYPE_CHECKING:
    from audit.facts.checkpoint import Checkpoint
    from audit.facts.scanned_run import ScannedRun


def in_one_count(run: "ScannedRun") -> Listing | None:
    """Return the listing with a step for every checkpoint, None if all names count the same.

    A name that counts epochs or saves is given the optimizer's count of updates. If the names that count steps are the
    same multiple of that everywhere, as where a script counts batches, it is multiplied likewise. One whose count
    cannot be read, as it is being written or damaged, comes one step after those that were written before it.

    The steps decide more than the order, such as which checkpoint is being rotated, so the run is opened anew with the
    listing; what was read for ``updates`` is read again.

    A run that was in one count stays so when the checkpoints of one kind are deleted: its seals have those steps.
    """
    counting = [item for item in run.checkpoints if names_count_steps(run.backend, item.name)]
    others = [item for item in run.checkpoints if item not in counting]
    if not others or not (counting or _sealed_so(run)):
        return None
    units = {item.step / count for item in counting if (count := item.optional("updates"))}
    unit = units.pop() if len(units) == 1 else 1.0
    times = int(unit) if unit.is_integer() and unit >= 1 else 1
    counted = {item.name: int(count) * times for item in others if (count := item.optional("updates")) is not None}
    known = [(_written(item), counted[item.name]) for item in others if item.name in counted]
    known += [(_written(item), item.step) for item in counting]
    for item in others:
        if item.name not in counted:
            before = [step for written, step in known if written <= _written(item)]
            counted[item.name] = max(before, default=-1) + 1
    return run.listing._replace(homes={**run.homes, **counted})


def _sealed_so(run: "ScannedRun") -> bool:
    """Whether a checkpoint was sealed with another step than the number in its name."""
    seals = run.records.seals.values()
    return any(
        seal.step != run.backend.checkpoint_step(seal.checkpoint)
        for seal in seals
        if not names_count_steps(run.backend, seal.checkpoint)
    )


def _written(checkpoint: "Checkpoint") -> int:
    """When its youngest file was written, in nanoseconds."""
    return max((entry.mtime_ns for entry in checkpoint.entries.values() if entry.kind == FILE), default=0)
