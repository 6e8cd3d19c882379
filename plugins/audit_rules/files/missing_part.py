"""files/missing-part."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, Layout, NotApplicable, Severity, Violation, is_metadata, rule
from audit_rules._neighbours import others


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from a checkpoint that has it; do not copy the file from another step.",
    explained_by=("files/missing-weights", "files/missing-optimizer"),
)
def missing_part(checkpoint: Checkpoint, layout: Layout) -> Iterator[Violation]:
    """A file that all other checkpoints of the run have is not there, and the script would look for it.

    accelerate 1.15, ``load_accelerator_state``, loads what was prepared: it stops where the file of a scheduler or of a
    second model or optimizer is missing, and skips the position of a data loader. What was prepared is recorded
    nowhere, so the other checkpoints say it: at least two of them, if all have the file. Not checked where the
    arguments of the trainer say what a checkpoint owes.
    """
    if checkpoint.backend.arguments_file:
        raise NotApplicable("the trainer's arguments say what a checkpoint owes")
    newest = max((entry.mtime_ns for entry in checkpoint.entries.values()), default=0)
    if checkpoint.run.clock.recent(newest):
        raise NotApplicable("it was written just now, and what was registered by the script comes last")
    alike = [item for item in others(checkpoint) if item.is_file == checkpoint.is_file]
    if len(alike) < 2:
        raise NotApplicable("there are no two other complete checkpoints to compare with")
    parts = [_parts(found) for item in alike if (found := item.optional("layout")) is not None]
    for path in sorted(frozenset.intersection(*parts) - _parts(layout)) if len(parts) == len(alike) else ():
        if not checkpoint.stands_in(path):
            yield Violation(f"{path} is not there, and all {len(alike)} other checkpoints have it", file=path)


def _parts(layout: Layout) -> frozenset[str]:
    """The files that a resume looks for by their names, whatever their number in the checkpoint."""
    single = (layout.scheduler, layout.scaler)
    # The metadata names the shards of a state, whose number may differ from checkpoint to checkpoint.
    states = (path for path in (*layout.sharded_weights, *layout.sharded_optimizer) if is_metadata(path))
    return frozenset(path for path in (*single, *layout.others, *layout.weights, *states) if path)
