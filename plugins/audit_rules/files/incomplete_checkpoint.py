"""files/incomplete-checkpoint."""

from collections.abc import Iterator

from audit.plugin import DIRECTORY, Checkpoint, CheckpointState, Completeness, Severity, Violation, rule


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from the checkpoint before it, and move this directory away: Trainer would pick it and crash.",
)
def incomplete_checkpoint(checkpoint: Checkpoint, completeness: Completeness) -> Iterator[Violation]:
    """The checkpoint is incomplete: its save was interrupted.

    Trainer 5.23, ``_save_checkpoint``, writes into the final directory, ``trainer_state.json`` last, so a directory
    without it is an interrupted save. A save at a signal (``enable_jit_checkpoint``) writes
    ``checkpoint-is-incomplete.txt`` first and removes it last; nothing in transformers reads it.
    ``get_last_checkpoint`` takes the highest number without looking inside, so a resume picks this directory and
    crashes, or loads a partial state.

    If no checkpoint of the run has a trainer state, another program saved them (``save_state`` of accelerate, for
    example).

    There is one finding for the whole directory. While a file in it is younger than the settle time (60 seconds,
    ``settle-seconds``) the save may still be running: it is then "in progress", an info, and not handed out. The same
    holds for a checkpoint whose other processes have yet to write their random states, for one that rotation is
    deleting, and for one that changed while it was read.
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
            remedy="Do nothing; the newer checkpoints stay.",
        )
    elif completeness.state is CheckpointState.INCOMPLETE and (saved := checkpoint.other_program) is not None:
        yield Violation(
            f"has no {checkpoint.backend.state_file or 'file of a finished save'}, nor has any other checkpoint of the run: it is {saved}",
            remedy="Resume with the program that saved it; Trainer cannot, and it is not judged here.",
        )
    elif completeness.state is CheckpointState.INCOMPLETE:
        yield Violation(f"is incomplete: {completeness.reason}")
    elif (entry := checkpoint.entries.get(state_file := checkpoint.backend.state_file)) and entry.kind == DIRECTORY:
        yield Violation(f"is incomplete: {state_file} is a directory", file=state_file)
