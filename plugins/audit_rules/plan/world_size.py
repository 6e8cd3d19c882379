"""plan/world-size."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, NotApplicable, Plan, Severity, Violation, rule, world_change, world_of


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

    Where the states are in files of each process, it is an error: DeepSpeed 0.19 raises ``ZeRORuntimeException`` for
    partitions of ZeRO, unless ``elastic_checkpoint`` is on, and a local state of FSDP has no file for a new rank. A
    sharded state of FSDP is divided anew.

    The number is taken from DeepSpeed's state, from ``distributed_state`` in ``training_args.bin``, else from the files
    of random numbers. Not checked if the backend starts the processes itself.
    """
    if not world_of(resume):
        raise NotApplicable(f"{resume.name} does not show how many processes trained it")
    change = world_change(resume, processes)
    if change is not None:
        yield Violation(
            f"{processes} {'process' if processes == 1 else 'processes'} will train, but {resume.name} was trained by "
            f"{change.before}: {change.text}",
            expected=change.before,
            actual=processes,
            severity=None if change.works else Severity.ERROR,
        )
