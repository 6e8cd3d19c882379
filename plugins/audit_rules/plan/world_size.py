"""plan/world-size."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, NotApplicable, Plan, Severity, Violation, rule


@rule(
    Severity.WARNING,
    remedy="Train with as many processes as before, or change gradient_accumulation_steps so that a step takes as many "
    "examples as before.",
)
def world_size(plan: Plan, processes: int, resume: Checkpoint) -> Iterator[Violation]:
    """Another number of processes will train than trained the checkpoint.

    A step then takes more or fewer examples, so the same number of steps is another amount of data, and what Trainer
    derives from steps (epochs, the end of a schedule) means something else. Random number states are saved one per
    process (``rng_state_0.pth`` and so on): with another number the resume is not exact, and Trainer 5.23 says that at
    the level INFO. DeepSpeed cannot resume at all.

    From ``distributed_state`` in ``training_args.bin``, else from the files of random numbers. Not judged where the
    backend starts the processes itself.
    """
    before = resume.arguments.get("num_processes") if resume.optional("arguments") else None
    if not isinstance(before, int):
        before = resume.layout.world_size
    if not before:
        raise NotApplicable(f"{resume.name} does not say how many processes trained it")
    if before != processes:
        yield Violation(
            f"{processes} {'process' if processes == 1 else 'processes'} will train, but {resume.name} was trained by {before}",
            expected=before,
            actual=processes,
        )
