"""integrity/safetensors."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, FileFormat, Severity, Violation, rule
from audit_rules.integrity._shared import malformed, report


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Restore the file from a copy, or resume from an older checkpoint.",
)
def safetensors(checkpoint: Checkpoint) -> Iterator[Violation]:
    """A safetensors file is malformed: truncated, with bytes after its end, or with a wrong header.

    The format is eight bytes of header length, a JSON header, then the tensors, each at its ``data_offsets``, without
    gaps or overlaps up to the last byte. It has no checksum, so a sound structure proves nothing about the bytes. A
    full disk, a broken download or a clone without git-lfs content leaves truncated files.
    """
    for path, (_, damage) in malformed(checkpoint, FileFormat.SAFETENSORS).items():
        yield from report(checkpoint, path, f"{path} {damage.message}")
