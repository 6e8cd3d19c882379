"""files/stray-state."""

from collections.abc import Iterator

from audit.plugin import FILE, Run, Severity, Violation, rule

STRAYS = ("optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth", "optimizer.bin")


@rule(
    Severity.WARNING,
    remedy="Delete it, or move it back into the checkpoint it was copied from; Trainer reads only checkpoint-N/.",
)
def stray_state(run: Run) -> Iterator[Violation]:
    """A file of optimizer, scheduler or random state is in the run's root, where nothing reads it.

    It was probably copied there so that a resume would find it, but Trainer resumes from ``checkpoint-N/`` only.
    ``trainer_state.json``, ``training_args.bin`` and weights there are fine: ``save_state()`` and ``save_model()``
    write them.
    """
    for name in STRAYS:
        if name in run.entries and run.entries[name].kind == FILE:
            yield Violation(f"{name} is in the run's root, where no resume reads it", file=name)
