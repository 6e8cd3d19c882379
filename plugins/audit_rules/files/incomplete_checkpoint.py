"""files/incomplete-checkpoint."""

from collections.abc import Iterator

from audit.plugin import DIRECTORY, Checkpoint, CheckpointState, Completeness, Severity, Violation, rule


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from the checkpoint before it; move this directory away, Trainer would take it and crash.",
)
def incomplete_checkpoint(checkpoint: Checkpoint, completeness: Completeness) -> Iterator[Violation]:
    """The checkpoint was not written to its end.

    Trainer 5.23, ``_save_checkpoint``: files go straight into the final directory, ``trainer_state.json`` last, so a
    directory without it was cut off. At a signal (``enable_jit_checkpoint``) ``checkpoint-is-incomplete.txt`` is
    written first and removed last; no code of transformers ever reads it. ``get_last_checkpoint`` takes the highest
    number without looking inside, so a resume picks this directory and crashes, or loads a torn state.

    One finding stands for the whole directory. While a file in it is younger than the settle time (60 seconds,
    ``settle-seconds``) the save may still be going on: then it is "in progress", an info, and not handed out. So is
    one whose other processes have yet to write their random states, one that rotation is just deleting, and one that
    changed while it was read.
    """
    if completeness.state is CheckpointState.IN_PROGRESS:
        yield Violation(
            f"is being written right now: {completeness.reason}",
            severity=Severity.INFO,
            remedy="Wait until the trainer has finished saving, then verify again.",
        )
    elif completeness.state is CheckpointState.BEING_DELETED:
        yield Violation(
            f"is being deleted right now: {completeness.reason} checkpoints",
            severity=Severity.INFO,
            remedy="Nothing to do; the newer checkpoints stay.",
        )
    elif completeness.state is CheckpointState.INCOMPLETE:
        yield Violation(f"was not written to its end: {completeness.reason}")
    elif (entry := checkpoint.entries.get(state_file := checkpoint.run.backend.state_file)) and entry.kind == DIRECTORY:
        yield Violation(f"was not written to its end: {state_file} is a directory", file=state_file)
