"""integrity/json."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, FileFormat, Severity, Violation, rule
from audit_rules.integrity._shared import malformed, report


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Restore the file from a copy, or resume from an older checkpoint; do not repair it by hand.",
)
def json(checkpoint: Checkpoint) -> Iterator[Violation]:
    """A JSON file cannot be parsed.

    Trainer rewrites JSON files in place and never calls fsync: a kill or a full disk leaves a truncated file, two
    writers leave text after the end. Trainer 5.23 stops with a JSONDecodeError for ``trainer_state.json`` and for the
    index of sharded weights. Files that a resume never reads (tokenizer, ``config.json``) are errors that do not block
    it; an unknown JSON file is a warning.

    NaN and Infinity as bare words are legal: Trainer writes them for a gradient norm that is not finite.
    """
    for path, (_, damage) in malformed(checkpoint, FileFormat.JSON).items():
        yield from report(checkpoint, path, f"{path} {damage.message}")
    layout = checkpoint.optional("layout")
    for path in (adapter.config for adapter in layout.adapters if adapter.config) if layout is not None else ():
        value = checkpoint.files[path].optional("value")
        if value is not None and not isinstance(value, dict):
            yield from report(checkpoint, path, f"{path} is not a JSON object")
