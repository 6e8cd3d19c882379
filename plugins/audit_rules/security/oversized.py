"""security/oversized."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, DamageKind, Severity, Violation, rule


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Do not load it, and find out who wrote it; no trainer writes such a file.",
)
def oversized(checkpoint: Checkpoint) -> Iterator[Violation]:
    """A file needs more memory or time than any real one, or the directory has more files or levels.

    A compressed record of a few kilobytes that unpacks to gigabytes, a header of gigabytes, or a JSON value nested a
    hundred thousand levels deep crashes the program that reads it. Sound files are far below the limits: ``torch``
    compresses nothing, and the largest JSON file is a tokenizer of some 35 MB. A sparse file has a size of a terabyte
    and a few kilobytes of data. The file was not read any further.

    The metadata of a sharded state is left out: that of thousands of shards is as large, and the checkpoint is then not
    judged (files/not-judged).
    """
    unread = checkpoint.optional("unread") or {}
    for file, damage in checkpoint.optional("damages") or ():
        if damage.kind is DamageKind.OVERSIZED and (file.path not in unread or unread[file.path].damaged):
            yield Violation(f"{file.path} {damage.message}", file=file.path)
    damaged = {file.path for file, _ in checkpoint.optional("damages") or ()}
    for file in (checkpoint.optional("files") or {}).values():
        if file.entry.sparse and file.path not in damaged:
            yield Violation(
                f"{file.path} has a size of {file.entry.size} bytes, of which {file.entry.allocated} are stored",
                file=file.path,
                expected=file.entry.size,
                actual=file.entry.allocated,
            )
    if checkpoint.overfull:
        yield Violation(
            f"the directory has more entries than any real checkpoint: {len(checkpoint.entries)} entries were checked, "
            "further or deeper ones were not"
        )
