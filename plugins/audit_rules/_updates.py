"""How many updates a checkpoint's optimizer counted, and whether some may have been skipped."""

from typing import TYPE_CHECKING

from audit.plugin import Checkpoint

if TYPE_CHECKING:
    from audit.plugin import ZeroState

OVERFLOWS = 32
"""Steps. More than a gradient scaler skips in a row: it halves 65536 at each until the gradients fit."""


def uses_fp16(checkpoint: Checkpoint) -> bool:
    """Say whether a gradient scaler may have skipped updates; without training arguments, it may.

    transformers 4.31 to 4.49 wrote no ``scaler.pt``, so its absence proves nothing. DeepSpeed's engine scales itself,
    and says how many it skipped.
    """
    zero: ZeroState | None = checkpoint.optional("zero")
    if zero is not None and zero.engine.skipped_steps:
        return True
    layout, arguments = checkpoint.optional("layout"), checkpoint.optional("arguments")
    if layout is not None and layout.scaler:
        return True
    if not checkpoint.backend.arguments_file:  # accelerate writes scaler.pt wherever it scales
        return False
    return arguments is None or bool(arguments.get("fp16"))


def updates(checkpoint: Checkpoint) -> float | None:
    """Return how many updates the optimizer counted; None if it counts none, or could not be read."""
    counted: float | None = checkpoint.optional("updates")
    return counted


def due(checkpoint: Checkpoint, done: int) -> int:
    """Return how many updates ``done`` steps made at most: DeepSpeed's engine says how many of them it skipped."""
    zero: ZeroState | None = checkpoint.optional("zero")
    return done if zero is None else min(done, zero.engine.global_steps - zero.engine.skipped_steps)


def overwritten(checkpoint: Checkpoint) -> bool:
    """Say whether its optimizer is of a later step: a newer save was interrupted here (see optimizer/step-mismatch).

    Files that it shares with a later checkpoint then belong to the later one.
    """
    counted = updates(checkpoint)
    return counted is not None and counted > checkpoint.step


def late(checkpoint: Checkpoint, path: str) -> bool:
    """Say whether a file was written after its checkpoint's trainer state, which the trainer writes last.

    A copied tree has its own times, but in the same order: the name of the state is the last one.
    """
    if not checkpoint.run.clock.by_trainer:  # uploads come in any order
        return False
    file, state = checkpoint.entries.get(path), checkpoint.entries.get(checkpoint.backend.state_file)
    return file is not None and state is not None and file.mtime_ns > state.mtime_ns + 2_000_000_000


def reached(checkpoint: Checkpoint) -> int:
    """Return the step that a checkpoint is of, N of its name if nothing else says it."""
    found: int | None = checkpoint.optional("global_step")
    return checkpoint.step if found is None else found


def counts_batches(checkpoint: Checkpoint, count: float, done: int) -> bool:
    """Say whether the names of a run count batches: a whole number of them for each update, in all checkpoints.

    Only of trainers without a state, whose scripts name the checkpoints. At least one other checkpoint must agree.
    """
    if checkpoint.backend.state_file or not count or done % count:
        return False
    others = [(item.step, updates(item)) for item in checkpoint.run.checkpoints if item is not checkpoint]
    units = [step / counted for step, counted in others if counted]
    return bool(units) and all(unit == done / count for unit in units)
