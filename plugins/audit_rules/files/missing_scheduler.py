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
    learning rate jumps back to its start and the moments are lost. Not checked with ``save_only_model``. Under
    DeepSpeed it is owed if Trainer made the schedule, because Trainer then stops without it.
    """
    name = layout.missing.get("scheduler")
    by_trainer = bool(checkpoint.backend.arguments_file)
    if name is None and by_trainer and layout.kind == "deepspeed" and layout.scheduler is None:
        zero = checkpoint.optional("zero")
        if zero is not None and not any(engine.own_scheduler for engine in zero.engines.values()):
            yield Violation(
                "scheduler.pt is not there: Trainer made the schedule, and stops without it", file="scheduler.pt"
            )
        return
    if name and not checkpoint.stands_in(name):
        yield Violation(f"{name} is not there: a resume would load neither schedule nor optimizer", file=name)
