"""security/oversized."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, DamageKind, Severity, Violation, rule


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Do not load it; find out who wrote it. No trainer writes such a file.",
)
def oversized(checkpoint: Checkpoint) -> Iterator[Violation]:
    """A file asks for more memory or time than any real one, or the directory holds more files or levels.

    A compressed record of a few kilobytes that unpacks to gigabytes, a header of gigabytes, a JSON value nested a
    hundred thousand levels deep: each ends the program that reads it. Sound files stay far below the limits: ``torch``
    compresses nothing, the largest JSON is a tokenizer of some 35 MB. A file of holes claims a terabyte and holds a few
    kilobytes. The file was not read any further.
    """
    for file, damage in checkpoint.optional("damages") or ():
        if damage.kind is DamageKind.OVERSIZED:
            yield Violation(f"{file.path} {damage.message}", file=file.path)
    damaged = {file.path for file, _ in checkpoint.optional("damages") or ()}
    for file in (checkpoint.optional("files") or {}).values():
        if file.entry.sparse and file.path not in damaged:
            yield Violation(
                f"{file.path} claims {file.entry.size} bytes, of which {file.entry.allocated} are there",
                file=file.path,
                expected=file.entry.size,
                actual=file.entry.allocated,
            )
    if checkpoint.name in checkpoint.run.overfull:
        yield Violation(
            f"the directory holds more than any checkpoint does: {len(checkpoint.entries)} entries were looked at, "
            "the rest, or what lies deeper, was not"
        )
