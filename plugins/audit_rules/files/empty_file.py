"""files/empty-file."""

from collections.abc import Iterator, Mapping

from audit.plugin import Checkpoint, File, FileFormat, Severity, Violation, rule
from audit_rules._roles import read_by_resume
from audit_rules.integrity._shared import WRITTEN_BESIDE


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint; check the disk for space and the file system for errors.",
)
def empty_file(checkpoint: Checkpoint, files: Mapping[str, File]) -> Iterator[Violation]:
    """A file has no bytes.

    torch.save and JSON files are truncated and written anew in place, without fsync: a kill, a full disk or a power
    failure leaves a name without contents. Judged for JSON, safetensors and torch files; other files may be empty.
    """
    for file in files.values():
        if file.readable and file.entry.size == 0 and file.format != FileFormat.OTHER:
            known = file.path in read_by_resume(checkpoint.layout) or file.entry.name in WRITTEN_BESIDE
            yield Violation(
                f"{file.path} is empty (0 bytes)",
                file=file.path,
                severity=None if known else Severity.WARNING,
                blocks_resume=None if known else False,
            )
