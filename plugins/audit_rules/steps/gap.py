"""steps/gap."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, NotApplicable, Run, Severity, Violation, checkpoint_name, rule

if TYPE_CHECKING:
    from audit.plugin import TrainerState


@rule(
    Severity.WARNING,
    remedy="Find out what deletes checkpoints besides the trainer's rotation; nothing that a resume needs is lost.",
    explained_by=("history/forked",),
)
def gap(run: Run, lineages: tuple[tuple[Checkpoint, ...], ...]) -> Iterator[Violation]:
    """A checkpoint between two others is gone, although rotation would have kept it.

    Trainer 5.23, ``DefaultFlowCallback``, saves at every multiple of ``save_steps`` in the trainer state, and
    ``rotate_checkpoints`` deletes the oldest first. So while an older checkpoint is there, every multiple after it is.
    Otherwise one was deleted by hand, or rotation took a wrong one (rotation/wrong-victim).

    Checked only between two checkpoints with the same ``save_steps`` and the strategy "steps". An older checkpoint that
    is or was the best one is protected from rotation, so what follows it is not checked. Nothing before the oldest
    checkpoint is missing: directories are often copied with only their newest checkpoints. What `audit prune` removed
    is in the ledger and not missing; a snapshot, which has single checkpoints, is not checked.
    """
    if run.records.snapshot:
        raise NotApplicable("a snapshot has single checkpoints")
    best = {checkpoint.best_recorded for checkpoint in run.checkpoints}
    # A broken checkpoint is in no lineage, but it is there, so its step is not missing.
    present = {checkpoint.step for checkpoint in run.checkpoints}
    # One that was renamed is there as well, under the step of its state.
    states = [checkpoint.optional("state") for checkpoint in run.checkpoints]
    present.update(state.global_step for state in states if state is not None)
    present |= run.records.pruned | run.records.quarantined
    ordered = sorted(present)
    judged = 0
    for lineage in lineages:
        missing: list[int] = []
        count = 0
        for before, after in pairwise(lineage):
            every = _interval(before, after)
            if every is None or before.name in best:
                continue
            judged += 1
            first = before.step - before.step % every + every
            inside = ordered[bisect_right(ordered, before.step) : bisect_left(ordered, after.step)]
            between = sum(step % every == 0 for step in inside)
            absent = (after.step - 1) // every - before.step // every - between
            if absent > 0:
                count += absent
                missing.extend(_first(range(first, after.step, every), present, 5 - len(missing)))
        if count:
            named = ", ".join(map(checkpoint_name, missing))
            more = f" and {count - len(missing)} more" if count > len(missing) else ""
            verb = "is" if count == 1 else "are"
            yield Violation(
                f"{named}{more} {verb} gone, although older ones are still there: rotation deletes the oldest first, "
                f"so something else deleted {'it' if count == 1 else 'them'}",
                expected=len(lineage) + count,
                actual=len(lineage),
            )
    if not judged:
        raise NotApplicable("no two checkpoints of one history were saved at regular steps")


def _interval(before: Checkpoint, after: Checkpoint) -> int | None:
    """Steps between two saves, if both checkpoints agree and save by steps."""
    found = set()
    for checkpoint in (before, after):
        state: TrainerState | None = checkpoint.optional("state")
        arguments = checkpoint.optional("arguments") or {}
        if state is None or arguments.get("save_strategy") != "steps" or state.global_step != checkpoint.step:
            return None
        given = arguments.get("save_steps")
        every = state.save_steps if state.save_steps is not None else given
        if not isinstance(every, int | float) or not 1 <= every < 1e15:
            return None
        if isinstance(given, int | float) and given >= 1 and given != every:
            return None  # changed on resume: Trainer keeps the old one, other trainers may not
        found.add(int(every))
    return found.pop() if len(found) == 1 else None


def _first(steps: Sequence[int], present: set[int], limit: int) -> list[int]:
    found: list[int] = []
    for step in steps:
        if len(found) >= limit:
            break
        if step not in present:
            found.append(step)
    return found
