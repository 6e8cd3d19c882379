"""scheduler/step-mismatch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, Layout, NotApplicable, Severity, Violation, rule
from audit_rules._roles import schedule_in
from audit_rules._updates import OVERFLOWS, reached, updates, uses_fp16

if TYPE_CHECKING:
    from audit.plugin import SchedulerState

KINDS = {"lambda": "a schedule of transformers", "plateau": "ReduceLROnPlateau", "greedy": "GreedyLR"}


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="If the file is from another step, resume from a checkpoint whose files belong together. If the schedule "
    "started over, the learning rate has been wrong since: go back to before that.",
    explained_by=("steps/directory-mismatch", "optimizer/step-mismatch", "integrity/archive"),
)
def step_mismatch(
    checkpoint: Checkpoint, layout: Layout, scheduler: "SchedulerState", global_step: int
) -> Iterator[Violation]:
    """The schedule is not at the step of the trainer.

    The learning rate is computed from ``last_epoch``: a schedule that silently started over, or whose file is of
    another step, is wrong for the rest of the run. Trainer does not compare them.

    ``last_epoch`` is never above ``global_step``, and never below the count of updates or that of the previous
    checkpoint; without an fp16 gradient scaler (with it, the schedule may wait for skipped steps) it is equal, and
    ``_step_count`` is one more. accelerate moves the schedule once for each process (``AcceleratedScheduler.step``), so
    there it is a multiple. PyTorch Lightning moves it with each step or each epoch, or as the module says: there it is
    compared only if the schedules of all other checkpoints, at least two, are at their step or epoch. So it is in a
    state of ``dcp.save``: all others must be at their step, or all one beside it. Not checked: schedulers that count
    evaluations (plateau, greedy) or nothing.
    """
    path = schedule_in(layout)
    previous = checkpoint.optional("previous")
    before: SchedulerState | None = previous.optional("scheduler") if previous is not None else None
    if before is not None and before.kind != scheduler.kind and {before.kind, scheduler.kind} <= set(KINDS):
        yield Violation(
            f"{path} is of {KINDS[scheduler.kind]}, but that of {previous.name} is of {KINDS[before.kind]}",
            file=path,
            expected=before.kind,
            actual=scheduler.kind,
        )
        return
    if scheduler.last_epoch is None or scheduler.step_count is None or scheduler.kind in ("plateau", "greedy"):
        raise NotApplicable("this scheduler does not count steps")
    if layout.scheduler is None:
        said = _off_the_others(checkpoint, scheduler.last_epoch, global_step)
    elif layout.schedule_at:
        said = _off(checkpoint, scheduler.last_epoch, layout)
    else:
        said = _wrong(checkpoint, scheduler, global_step, before)
    if said:
        yield Violation(f"{path} {said}", file=path, expected=global_step, actual=scheduler.last_epoch)


def _off(checkpoint: Checkpoint, at: int, layout: Layout) -> str | None:
    """Say that a schedule is at no position that fits. Raises NotApplicable if nothing tells what it counts."""
    if at in layout.schedule_at:
        return None
    others = [
        (found.last_epoch, there.schedule_at)
        for item in checkpoint.run.checkpoints
        if item is not checkpoint and (found := item.optional("scheduler")) and (there := item.optional("layout"))
    ]
    if len(others) < 2 or any(position not in allowed for position, allowed in others):
        raise NotApplicable("it cannot be told what this scheduler counts")
    return f"is at step {at}, which is neither the step nor the epoch ({', '.join(map(str, layout.schedule_at))})"


def _off_the_others(checkpoint: Checkpoint, at: int, done: int) -> str | None:
    """Say that a schedule is as far from its step as that of no other checkpoint."""
    others = {
        item.name: found.last_epoch - reached(item)
        for item in checkpoint.run.checkpoints
        if item is not checkpoint and (found := item.optional("scheduler")) and found.last_epoch is not None
    }
    usual = set(others.values())
    if len(others) < 2 or len(usual) > 1 or abs(next(iter(usual))) > 1:
        raise NotApplicable("it cannot be told what this scheduler counts")
    if at - done in usual:
        return None
    return f"has a schedule at step {at}, but the trainer did {done} steps"


def _wrong(
    checkpoint: Checkpoint, scheduler: "SchedulerState", done: int, before: "SchedulerState | None"
) -> str | None:
    at = scheduler.last_epoch or 0
    # accelerate moves the schedule once for each process, and not at all while gradients are accumulated.
    counted = updates(checkpoint)
    several = not checkpoint.backend.state_file and any(unit and not at % unit for unit in (done, counted))
    if (at > done and not several) or (at != done and not several and not uses_fp16(checkpoint)):
        return f"is at step {at}, but the trainer did {done} steps"
    if counted is not None and at < counted <= done:
        return f"is at step {at}, but the optimizer counted {counted:g} updates"
    if before is not None and before.last_epoch is not None and before.last_epoch <= reached(checkpoint.previous):
        previous = checkpoint.previous
        if at < before.last_epoch or (at == before.last_epoch and checkpoint.step - previous.step > OVERFLOWS):
            return f"is at step {at}, but was at {before.last_epoch} in {previous.name}"
    if scheduler.kind == "lambda" and scheduler.step_count != at + 1:
        return f"is at step {at}, but was called {scheduler.step_count} times instead of {at + 1}"
    return None
