"""optimizer/step-mismatch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, Layout, NotApplicable, Severity, Violation, rule
from audit_rules._updates import counts_batches, reached, uses_fp16
from audit_rules._updates import updates as updates_of
from audit_rules.optimizer._shared import place_of

if TYPE_CHECKING:
    from audit.plugin import OptimizerState


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="If the file is from another step, resume from a checkpoint whose files belong together. If the count started "
    "over, a resume lost the optimizer state there: go back to before it, or accept the loss.",
    explained_by=(
        "steps/directory-mismatch",
        "optimizer/unchanged",
        "optimizer/fresh",
        "integrity/archive",
        "deepspeed/latest",
        "deepspeed/stale-partition",
        "deepspeed/step-mismatch",
    ),
)
def step_mismatch(
    checkpoint: Checkpoint, layout: Layout, updates: float | None, global_step: int
) -> Iterator[Violation]:
    """The optimizer's count of updates differs from the trainer's steps.

    This is the lasting trace of a silent reset: Trainer loads the optimizer only if ``scheduler.pt`` is there, too,
    without a message otherwise, and from then on the count lags by the steps before. Or the file is of another step.

    The highest count of all parameters is compared (parameters unfrozen later and unused experts have lower ones). It
    is never above ``global_step`` and never below the count of the previous checkpoint, nor is that of any parameter
    below its own; without an fp16 gradient scaler, which skips updates, it is equal (426 of 426 generated checkpoints).
    A sharded optimizer counts for each parameter, too. Without ``training_args.bin`` a scaler is assumed. Scripts that
    name their checkpoints themselves may count batches instead of updates: the same multiple in all checkpoints of a
    run is a unit. Not checked: optimizers that do not count (SGD), and equality for schedule-free ones.

    DeepSpeed's engine may be behind the trainer; deepspeed/step-mismatch compares it with the optimizer of each rank.
    PyTorch Lightning counts a training step that returned None, for which the optimizer makes no update. There a lower
    count is an error only if it is that of the checkpoint before.
    """
    count = updates
    if count is None:
        raise NotApplicable("this optimizer counts no updates")
    done = global_step
    said = None
    previous = checkpoint.optional("previous")
    before = updates_of(previous) if previous is not None else None
    optimizer: OptimizerState | None = checkpoint.optional("optimizer")
    steady = optimizer is None or optimizer.kind != "schedule-free"
    path = place_of(layout)
    past = reached(previous) if previous is not None else 0
    if count > done:
        said = f"counted {count:g} updates, but the trainer did {done} steps: the files are of different steps"
    elif layout.skips and count != done and not uses_fp16(checkpoint) and _stood_still(checkpoint, count):
        said = f"counted {count:g} updates, as in {previous.name}, but the trainer did {done} steps"
    elif (
        not layout.skips
        and not uses_fp16(checkpoint)
        and steady
        and count != done
        and not counts_batches(checkpoint, count, done)
    ):
        said = f"counted {count:g} updates, but the trainer did {done} steps: it started over, or is of another step"
    elif before is not None and count < before <= past:  # else that file is the wrong one
        said = f"counted {count:g} updates, fewer than the {before:g} in {previous.name}: it started over in between"
    elif optimizer is not None and before is not None and before <= past:
        said = _fell(optimizer, previous)
    if said:
        yield Violation(f"{path} {said}", file=path, expected=done, actual=count)


def _stood_still(checkpoint: Checkpoint, count: float) -> bool:
    """Whether the optimizer counted no more updates than in the checkpoint before, where they were its steps."""
    previous = checkpoint.optional("previous")
    return (
        previous is not None
        and previous.step < checkpoint.step
        and updates_of(previous) == previous.optional("global_step") == count
    )


def _fell(optimizer: "OptimizerState", previous: Checkpoint) -> str | None:
    """Say which parameter has a lower count than in the previous checkpoint, None if none has."""
    earlier: OptimizerState | None = previous.optional("optimizer")
    if earlier is None or len(earlier.state) != len(optimizer.state):
        return None
    counts = earlier.counts
    fell = [(name, count) for name, count in optimizer.counts.items() if name in counts and count < counts[name]]
    if not fell:
        return None
    name, count = fell[0]
    return (
        f"counted {count:g} updates of parameter {name}, fewer than the {counts[name]:g} in {previous.name} "
        f"({len(fell)} parameters): their states are of another step"
    )
