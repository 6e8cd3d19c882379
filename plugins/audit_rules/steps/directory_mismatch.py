"""steps/directory-mismatch."""

from collections.abc import Iterator

from audit.plugin import ITSELF, Checkpoint, NotApplicable, Severity, Violation, rule


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from another checkpoint; if the directory was renamed, rename it to the number of its step.",
)
def directory_mismatch(checkpoint: Checkpoint, global_step: int) -> Iterator[Violation]:
    """The number of the directory is not the step in its trainer state.

    Trainer 5.23, ``get_last_checkpoint``, takes the highest number and never compares it with ``global_step``. So a
    copy of checkpoint-200 named checkpoint-900 is chosen, and 700 steps are silently trained again; a state of another
    step in the right directory makes schedule and data position wrong. They are equal in 742 of 742 real checkpoints.

    A file of PyTorch Lightning holds its step, too. There N of ``step=N`` is another number if the module logs a value
    named ``step``; so it is reported only if the names of all others, at least one, are those of their steps.
    """
    if not checkpoint.backend.state_file:
        _compares(checkpoint)
    if global_step != checkpoint.step:
        what, holder = ("file", "it holds a state") if checkpoint.is_file else ("directory", "its trainer state is")
        yield Violation(
            f"The {what} is named after step {checkpoint.step}, but {holder} of step {global_step}: "
            "a resume would not continue at the step of the name",
            file=ITSELF if checkpoint.is_file else checkpoint.backend.state_file,
            expected=checkpoint.step,
            actual=global_step,
        )


def _compares(checkpoint: Checkpoint) -> None:
    """Raise NotApplicable unless the file holds its step, and the names of the other ones are those of their steps."""
    if checkpoint.layout.step is None:
        raise NotApplicable("nothing but its name tells its step")
    if checkpoint.backend.checkpoint_step(checkpoint.name) is None:
        raise NotApplicable("its name tells no step")
    named = [item for item in checkpoint.run.checkpoints if item.backend.checkpoint_step(item.name) is not None]
    layouts = [(item, found) for item in named if item is not checkpoint and (found := item.optional("layout"))]
    if not layouts or any(found.step != item.step for item, found in layouts if found.step is not None):
        raise NotApplicable("it cannot be told whether the names of this run are those of its steps")
