"""files/empty-file."""

from collections.abc import Iterator, Mapping

from audit.plugin import Checkpoint, File, FileFormat, Severity, Violation, rule
from audit_rules.integrity._shared import WRITTEN_BESIDE


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint; check the disk for space and the file system for errors.",
)
def empty_file(checkpoint: Checkpoint, files: Mapping[str, File]) -> Iterator[Violation]:
    """A file is empty.

    JSON files and those of torch.save are truncated and rewritten in place, without fsync: a kill, a full disk or a
    power failure leaves an empty file. Only JSON, safetensors and torch files are checked; other files may be empty.
    """
    for file in files.values():
        if file.readable and file.entry.size == 0 and file.format != FileFormat.OTHER:
            known = file.path in checkpoint.layout.read_by_resume or file.entry.name in WRITTEN_BESIDE
            yield Violation(
                f"{file.path} is empty (0 bytes)",
                file=file.path,
                severity=None if known else Severity.WARNING,
                blocks_resume=None if known else False,
            )
