"""files/missing-optimizer."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Layout, Severity, Violation, rule


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint that has it; do not copy the file from another step.",
)
def missing_optimizer(checkpoint: Checkpoint, layout: Layout) -> Iterator[Violation]:
    """The optimizer state is not there.

    Trainer 5.23, ``_load_optimizer_and_scheduler``, loads optimizer and scheduler only if both files exist, and
    otherwise skips both without a message. Training continues with fresh moments and the initial learning rate.

    Not checked with ``save_only_model`` (see files/weights-only), nor if there is a placeholder in its place.
    """
    name = layout.missing.get("optimizer")
    if name and not checkpoint.stands_in(name):
        yield Violation(f"{name} is not there: a resume would start with a fresh optimizer and schedule", file=name)
