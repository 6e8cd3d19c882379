"""shards/damaged."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, FileScan, Severity, Violation, rule, shard_span_name
from audit_rules._more import and_more
from audit_rules._scans import was_read

if TYPE_CHECKING:
    from audit.plugin import ShardedState


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Restore the file from a copy, or resume from an older checkpoint.",
    explained_by=("shards/stale",),
)
def damaged(checkpoint: Checkpoint, shards: "tuple[ShardedState, ...]") -> Iterator[Violation]:
    """An item of a shard file is malformed, or its bytes are not those that were written.

    A shard file is a row of items at the places that ``.metadata`` gives; each is a torch archive with a CRC32 for each
    record. torch 2.13 compares neither the CRCs nor the neighbours: a flipped bit or a page of zeros is loaded without
    a message. At full depth the CRC of every record is compared.
    """
    scan: Mapping[str, FileScan] = checkpoint.optional("scan") or {}
    for state in shards:
        broken = dict(reversed(state.broken))
        for path, problem in broken.items():
            yield Violation(f"{path}: {problem}", file=path)
        for path, sections in state.sections.items():
            if path in broken or not was_read(scan, path):
                continue
            found = scan[path].spans
            wrong = [
                section.key
                for section in sections
                if section.crc_written
                and any(
                    (span := found.get(shard_span_name(section, record.name))) is not None
                    and span.complete
                    and span.crc != record.crc
                    for record in section.records
                )
            ]
            if wrong:
                more = and_more(wrong, " and {} more items")
                yield Violation(
                    f"{path} was changed after it was written: the CRC of {wrong[0]}{more} is wrong", file=path
                )
