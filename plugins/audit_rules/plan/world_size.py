"""plan/world-size."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, NotApplicable, Plan, Severity, Violation, rule


@rule(
    Severity.WARNING,
    remedy="Train with as many processes as before, or change gradient_accumulation_steps so that a step takes as many "
    "examples as before.",
)
def world_size(plan: Plan, processes: int, resume: Checkpoint) -> Iterator[Violation]:
    """The number of processes would change.

    A step then takes more or fewer examples, so the same number of steps is another amount of data, and what Trainer
    derives from steps (epochs, the end of a schedule) changes. Random number states are saved one per process
    (``rng_state_0.pth`` and so on): with another number the resume is not exact, which Trainer 5.23 logs at level INFO.
    DeepSpeed cannot resume at all.

    The number is taken from ``distributed_state`` in ``training_args.bin``, else from the files of random numbers. Not
    checked if the backend starts the processes itself.
    """
    before = resume.arguments.get("num_processes") if resume.optional("arguments") else None
    if not isinstance(before, int):
        before = resume.layout.world_size
    if not before:
        raise NotApplicable(f"{resume.name} does not show how many processes trained it")
    if before != processes:
        yield Violation(
            f"{processes} {'process' if processes == 1 else 'processes'} will train, but {resume.name} was trained by {before}",
            expected=before,
            actual=processes,
        )
