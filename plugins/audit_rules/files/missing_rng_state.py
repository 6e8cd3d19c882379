"""files/missing-rng-state."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Layout, Severity, Violation, rule
from audit_rules._more import and_more
from audit_rules._updates import updates


@rule(
    Severity.WARNING,
    remedy="Resume from another checkpoint if the run must be reproducible; otherwise accept different dropout masks.",
    breaks_exactness=True,
)
def missing_rng_state(checkpoint: Checkpoint, layout: Layout) -> Iterator[Violation]:
    """A random number state is not there.

    Trainer 5.23, ``_load_rng_state``, logs this at level INFO and continues, so dropout masks and shuffling differ from
    those of an uninterrupted run. A run of k processes must have k files, ``rng_state_0.pth`` to
    ``rng_state_{k-1}.pth``; a single process has ``rng_state.pth``.

    accelerate 1.15 does the same. How many processes there were is in no file; they are owed as many as in the
    checkpoint next to it if the schedule moved on by that many for each update (``AcceleratedScheduler.step``).
    """
    owed = layout.owed_rng + _of_processes(checkpoint, layout)
    missing = [name for name in owed if name not in layout.rng and not checkpoint.stands_in(name)]
    if missing:
        names = ", ".join(missing[:4]) + and_more(missing, " and {} more", 4)
        verb = "is" if len(missing) == 1 else "are"
        yield Violation(
            f"{names} {verb} not there: a resume would work, but not reproducibly",
            file=missing[0],
            expected=f"{len(owed)} random number state(s)",
            actual=f"{len(owed) - len(missing)} of them",
        )


def _of_processes(checkpoint: Checkpoint, layout: Layout) -> tuple[str, ...]:
    """The states of further processes that a checkpoint owes whose trainer has no arguments."""
    other = next((item for item in checkpoint.neighbours if item is not None and item.complete), None)
    theirs = other.optional("layout") if other is not None else None
    if checkpoint.backend.arguments_file or other is None or theirs is None:
        return ()
    more = tuple(name for name in theirs.rng if name not in layout.owed_rng)
    schedules = checkpoint.optional("scheduler"), other.optional("scheduler")
    mine, before = (found.last_epoch if found is not None else None for found in schedules)
    counted, others = updates(checkpoint), updates(other)
    if not more or mine is None or before is None or counted is None or others is None:
        return ()
    return more if mine != before and mine - before == len(theirs.rng) * (counted - others) else ()
