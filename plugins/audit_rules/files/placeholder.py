"""files/placeholder."""

from collections.abc import Iterator, Mapping

from audit.plugin import Checkpoint, DamageKind, File, Severity, Violation, rule


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Fetch the real file (git lfs pull, the original machine, or join the parts) before resuming.",
)
def placeholder(checkpoint: Checkpoint, files: Mapping[str, File]) -> Iterator[Violation]:
    """A placeholder is in place of a file: a git-lfs pointer, a history cleaner's mark, parts of a split file.

    Seen in 12 of 95 public runs: ``version https://git-lfs`` (about 130 bytes), ``optimizer.pt.REMOVED.git-id``,
    ``model.safetensors.part_aa``. No loader reads any of them.
    """
    for file, damage in checkpoint.damages:
        if damage.kind is DamageKind.PLACEHOLDER:
            yield Violation(f"{file.path} {damage.message}", file=file.path)
    for path, file in files.items():
        original = file.stands_in_for
        if original is not None and original not in files:
            yield Violation(f"{path} is in place of {original}", file=path)
