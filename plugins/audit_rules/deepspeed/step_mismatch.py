"""deepspeed/step-mismatch."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, Severity, Violation, rule

if TYPE_CHECKING:
    from audit.plugin import EngineState, ZeroState

_TAG = re.compile(r"global_step([0-9]{1,18})", re.ASCII)


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint whose files belong together; parts of different steps cannot be combined.",
    explained_by=("steps/directory-mismatch", "deepspeed/latest", "deepspeed/stale-partition"),
)
def step_mismatch(checkpoint: Checkpoint, zero: "ZeroState", global_step: int) -> Iterator[Violation]:
    """The states that DeepSpeed would load are of different steps.

    The engine loads them without a message and continues at its own step: a part that was left from another save, or
    ``latest`` that names an older directory, puts old weights and moments beside new ones.

    The step in the name of the directory, the engine's ``global_steps`` and the updates that each rank's optimizer
    counted must agree. The engine may be behind the trainer, which also counts steps without an update, but it is never
    ahead, and it goes on from one checkpoint to the next.
    """
    engines = list(zero.engines.items())
    path, engine = engines[0]
    for other, found in engines[1:]:
        if found.global_steps != engine.global_steps:
            yield Violation(
                f"{other} is of step {found.global_steps}, {path} of step {engine.global_steps}",
                file=other,
                expected=engine.global_steps,
                actual=found.global_steps,
            )
            return
    named = _TAG.fullmatch(zero.tag or checkpoint.name)
    if named is not None and int(named[1]) != engine.global_steps:
        yield Violation(
            f"{path} is of step {engine.global_steps}, but its directory is {named[0]}",
            file=path,
            expected=int(named[1]),
            actual=engine.global_steps,
        )
        return
    if engine.global_steps > global_step:
        yield Violation(
            f"{path} is of step {engine.global_steps}, but the trainer did {global_step} steps",
            file=path,
            expected=global_step,
            actual=engine.global_steps,
        )
        return
    yield from _counted(zero, engine) or _standing(checkpoint, zero, engine)


def _counted(zero: "ZeroState", engine: "EngineState") -> list[Violation]:
    """Say which rank's optimizer counted other updates than the engine or the other ranks."""
    first = None  # a rank whose optimizer counts nothing says nothing
    for rank, part in enumerate(zero.ranks):
        for step in part.steps:
            first = step if first is None else first
            behind = step != engine.global_steps and not engine.skipped_steps
            if step > engine.global_steps or behind or step != first:
                return [
                    Violation(
                        f"{zero.paths[rank]} counted {step:g} updates, but the engine is at step {engine.global_steps}",
                        file=zero.paths[rank],
                        expected=engine.global_steps,
                        actual=step,
                    )
                ]
    return []


def _standing(checkpoint: Checkpoint, zero: "ZeroState", engine: "EngineState") -> Iterator[Violation]:
    """Say that the engine did no step since the checkpoint before."""
    previous = checkpoint.optional("previous")
    before = previous.optional("zero") if previous is not None else None
    if previous is None or before is None or previous.step >= checkpoint.step:
        return
    old = next(iter(before.engines.values()))
    if engine.global_steps <= old.global_steps and engine.skipped_steps <= old.skipped_steps:
        yield Violation(
            f"{next(iter(zero.engines))} is of step {engine.global_steps}, as in {previous.name}: latest names an older "
            "state",
            file="latest",
            expected=f"more than {old.global_steps}",
            actual=engine.global_steps,
        )
