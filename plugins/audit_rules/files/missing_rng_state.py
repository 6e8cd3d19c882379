"""files/missing-rng-state."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Layout, Severity, Violation, rule
from audit_rules._more import and_more


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
    """
    missing = [name for name in layout.missing_rng if not checkpoint.stands_in(name)]
    if missing:
        names = ", ".join(missing[:4]) + and_more(missing, " and {} more", 4)
        verb = "is" if len(missing) == 1 else "are"
        yield Violation(
            f"{names} {verb} not there: a resume would work, but not reproducibly",
            file=missing[0],
            expected=f"{len(layout.owed_rng)} random number state(s)",
            actual=f"{len(layout.owed_rng) - len(layout.missing_rng)} of them",
        )
