"""files/missing-scheduler."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Layout, Severity, Violation, rule


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint that has it; do not copy the file from another step.",
    explained_by=("files/missing-optimizer",),
)
def missing_scheduler(checkpoint: Checkpoint, layout: Layout) -> Iterator[Violation]:
    """The scheduler state is not there.

    Trainer 5.23, ``_load_optimizer_and_scheduler``: without it the optimizer state is silently not loaded either. The
    learning rate jumps back to its start and the moments are lost. Not checked under DeepSpeed, whose engine holds the
    schedule, nor with ``save_only_model``.
    """
    name = layout.missing.get("scheduler")
    if name and not checkpoint.stands_in(name):
        yield Violation(f"{name} is not there: a resume would load neither schedule nor optimizer", file=name)
