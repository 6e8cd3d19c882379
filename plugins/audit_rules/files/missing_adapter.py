"""files/missing-adapter."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Layout, Severity, Violation, rule


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from a checkpoint that has all adapters.",
    explained_by=("files/missing-weights",),
)
def missing_adapter(checkpoint: Checkpoint, layout: Layout) -> Iterator[Violation]:
    """An adapter is missing that the same session saved in its other checkpoints.

    PEFT saves adapters with names other than ``default`` in subdirectories. Trainer 5.23 finds them by content: without
    the subdirectory it loads the root adapter into the missing one if the shapes match, or keeps fresh values, without
    a message either way.
    """
    here = {adapter.directory for adapter in layout.adapters}
    for directory in sorted(checkpoint.session.usual_adapters - here):
        if directory and checkpoint.stands_in(f"{directory}/"):
            continue  # it cannot be listed: files/unreadable
        place = f"the adapter in {directory}/" if directory else "the adapter in the checkpoint itself"
        yield Violation(f"{place} is not there; other checkpoints of the same session have it", file=directory or None)
