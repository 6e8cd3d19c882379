"""steps/last-behind."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, NotApplicable, Run, Severity, Violation, rule


@rule(
    Severity.INFO,
    remedy="Resume from the checkpoint that the guard prints, by its path, and not by the word last.",
    explained_by=("steps/directory-mismatch",),
)
def last_behind(run: Run) -> Iterator[Violation]:
    """The checkpoint that is called the last one is of an earlier step than another one of the run.

    PyTorch Lightning 2.6, ``ModelCheckpoint(save_last=True)``, saves ``last.ckpt`` after the numbered file, so a kill
    between the two leaves it behind, and so does a second ``ModelCheckpoint`` that saves more often. Lightning resumes
    from it for ``ckpt_path="last"``, by its name alone, and trains the steps since then again. The guard goes by the
    steps inside.
    """
    held = [(int(item.global_step), item) for item in run.checkpoints if _step_inside(item)]
    named = [(step, item.name) for step, item in held if item.meant_as_newest]
    if not named or len(named) == len(held):
        raise NotApplicable("no checkpoint is called the last one, or no other is there")
    last, newest = max(named), max((step, item.name) for step, item in held if not item.meant_as_newest)
    if last[0] < newest[0]:
        yield Violation(
            f"{last[1]} is of step {last[0]}, and {newest[1]} of step {newest[0]}",
            expected=newest[0],
            actual=last[0],
        )


def _step_inside(checkpoint: Checkpoint) -> bool:
    """Whether its content tells its step."""
    layout = checkpoint.optional("layout")
    return layout is not None and layout.step is not None
