"""integrity/seal-broken."""

from collections.abc import Iterator

from audit.plugin import ANY_RULE, Checkpoint, Seal, Severity, Violation, minute, rule


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Restore the file from a copy, or resume from an older checkpoint; check the disk and who can write here.",
    explained_by=("files/incomplete-checkpoint", ANY_RULE),
)
def seal_broken(checkpoint: Checkpoint, seal: Seal) -> Iterator[Violation]:
    """A file has changed since the checkpoint was proven.

    The first full-depth verification that finds a checkpoint sound records the BLAKE3 digest of each of its files in
    the ledger. Nothing else detects a flipped bit in weights, moments swapped between parameters of one shape, or
    layers swapped inside a file: all of these load and train without a message.

    At quick depth only sizes and names are compared, and the digest of a trainer state that is newer than the seal. At
    full depth a file with the size, times and inode of the last reading is not read again. Bit rot changes no time: the
    guard rereads what was read longer ago than ``--max-age``, ``audit verify --scrub 10%`` a rotating share, and
    ``--no-cache`` all. A checkpoint that the trainer saved again, after going back to an earlier one, is not compared
    with its old seal; in a run of `audit train` this needs a leg in the ledger that went back, so that what was trained
    elsewhere and copied over a sealed checkpoint is found. Not reported if another rule names the same file.
    """
    scan = checkpoint.optional("scan") or {}
    for path, sealed in seal.files.items():
        entry = checkpoint.entries.get(path)
        if entry is None:
            yield Violation(f"{path} is gone; it was there when the checkpoint was sealed on {_day(seal)}", file=path)
        elif entry.size != sealed.size:
            yield Violation(
                f"{path} has changed its size since it was sealed on {_day(seal)}",
                file=path,
                expected=sealed.size,
                actual=entry.size,
            )
        elif path in scan and not scan[path].error and scan[path].digest != sealed.digest:
            yield Violation(
                f"{path} was changed after it was sealed on {_day(seal)}: its digest differs",
                file=path,
                expected=sealed.digest[:16],
                actual=scan[path].digest[:16],
            )
        elif path not in scan and path == checkpoint.backend.state_file and checkpoint.state_replaced:
            yield Violation(
                f"{path} was changed after it was sealed on {_day(seal)}: this is not the checkpoint that was proven",
                file=path,
            )


def _day(seal: Seal) -> str:
    return f"{minute(seal.time)} UTC"
