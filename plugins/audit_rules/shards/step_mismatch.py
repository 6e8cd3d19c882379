"""shards/step-mismatch."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, NotApplicable, Severity, Violation, rule
from audit_rules._neighbours import others
from audit_rules._updates import reached

if TYPE_CHECKING:
    from audit.plugin import ShardedState


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint; this one would go on at another step than its weights are of.",
    explained_by=("steps/directory-mismatch", "shards/stale", "shards/stale-part", "shards/damaged"),
)
def step_mismatch(
    checkpoint: Checkpoint, shards: "tuple[ShardedState, ...]", own_steps: Mapping[str, int], global_step: int
) -> Iterator[Violation]:
    """The step that the script saved in its state is not that of the checkpoint.

    A script saves where it is (``train_state.step``) beside weights and optimizer, and goes on from there; nothing
    compares the two. Compared are single whole numbers that are called ``step`` or ``global_step``, if all other
    checkpoints of the run, at least two, have that of their own step there.
    """
    if not own_steps:
        raise NotApplicable("the state holds no step of the script")
    whole = others(checkpoint)
    known = [(reached(item), steps) for item in whole if (steps := item.optional("own_steps")) is not None]
    if len(known) < 2 or len(known) < len(whole):
        raise NotApplicable("there are no two other complete checkpoints to compare with")
    for name, step in own_steps.items():
        if step != global_step and all(steps.get(name) == done for done, steps in known):
            path = shards[0].tables[0]
            yield Violation(
                f"{name} is {step}, but it is step {global_step}", file=path, expected=global_step, actual=step
            )
            return
