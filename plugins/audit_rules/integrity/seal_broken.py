"""integrity/seal-broken."""

from collections.abc import Iterator

from audit.plugin import ANY_RULE, Checkpoint, Seal, Severity, Violation, rule


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Restore the file from a copy, or resume from an older checkpoint; check the disk and who may write here.",
    explained_by=("files/incomplete-checkpoint", ANY_RULE),
)
def seal_broken(checkpoint: Checkpoint, seal: Seal) -> Iterator[Violation]:
    """A file is not what it was when the checkpoint was proven.

    The first full-depth verification that finds a checkpoint sound takes the BLAKE3 digest of each of its files into
    the ledger. Nothing else can see a flipped bit in weights, moments exchanged between parameters of one shape, or
    layers exchanged inside a file: all of them load without complaint and train on.

    At quick depth only sizes and names are compared, and the digest of a trainer state that is younger than the seal.
    At full depth a file whose size, times and inode are those of the last reading is not read again. Rot on the disk
    changes no time: the guard rereads what was read longer ago than ``--max-age``, ``audit verify --scrub 10%`` a
    rotating share, ``--no-cache`` all. A checkpoint that the trainer saved anew, after going back to an earlier one, is
    not judged by its old seal; in a run of `audit train` only if the ledger has a leg that went back: what was trained
    elsewhere and copied over a sealed checkpoint is found. Where another rule says what is wrong with the same file,
    that is enough.
    """
    scan = checkpoint.optional("scan") or {}
    for path, sealed in seal.files.items():
        entry = checkpoint.entries.get(path)
        if entry is None:
            yield Violation(f"{path} is gone; it was there when the checkpoint was sealed on {_day(seal)}", file=path)
        elif entry.size != sealed.size:
            yield Violation(
                f"{path} has another size than when it was sealed on {_day(seal)}",
                file=path,
                expected=sealed.size,
                actual=entry.size,
            )
        elif path in scan and not scan[path].error and scan[path].digest != sealed.digest:
            yield Violation(
                f"{path} was changed after it was sealed on {_day(seal)}: its digest is another one",
                file=path,
                expected=sealed.digest[:16],
                actual=scan[path].digest[:16],
            )
        elif path not in scan and path == checkpoint.run.backend.state_file and checkpoint.state_replaced:
            yield Violation(
                f"{path} was changed after it was sealed on {_day(seal)}: the checkpoint is not the one that was proven",
                file=path,
            )


def _day(seal: Seal) -> str:
    return seal.time[:16].replace("T", " ") + " UTC"
