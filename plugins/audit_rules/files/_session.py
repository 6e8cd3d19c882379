"""What the rules about files share: the checkpoints that one training session wrote."""

from audit.plugin import Checkpoint


def same_session(checkpoint: Checkpoint) -> list[Checkpoint]:
    """Return the other complete checkpoints of its lineage with the very same training arguments.

    Trainer pickles the arguments anew at every save, unchanged within a session, so equal arguments mean that the same
    files are owed. Raises NotApplicable where the arguments could not be read.
    """
    arguments = checkpoint.arguments
    lineage = next((group for group in checkpoint.run.lineages if checkpoint in group), ())
    return [
        other
        for other in lineage
        if other is not checkpoint and other.optional("layout") and other.optional("arguments") == arguments
    ]
