"""files/weights-only."""

from collections.abc import Iterator

from audit.backend import Layout
from audit.checkpoint import Checkpoint
from audit.findings import Severity, Violation
from audit.rules import rule


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Use it for deployment only; to be able to resume, train with save_only_model=False.",
)
def weights_only(checkpoint: Checkpoint, layout: Layout) -> Iterator[Violation]:
    """The checkpoint holds weights only: good for deployment, not for resuming.

    Saved with ``save_only_model=True`` or by ``save_model()``. Trainer 5.23 resumes from it without a message, with a
    fresh optimizer, a schedule at its start and other random numbers.
    """
    if layout.weights_only:
        yield Violation("was saved without optimizer, scheduler and random states (save_only_model)")
