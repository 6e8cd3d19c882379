"""integrity/archive."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, File, FileFormat, NotApplicable, Severity, Violation, refused_in_torch_file, rule
from audit_rules._more import and_more
from audit_rules._roles import loaded_as
from audit_rules.integrity._shared import malformed, report


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Restore the file from a copy, or resume from an older checkpoint.",
)
def archive(checkpoint: Checkpoint) -> Iterator[Violation]:
    """A torch file is malformed, or its bytes are not those that were written.

    ``torch.save`` writes a zip archive with a CRC32 for each record. ``torch.load`` does not compare it: torch 2.13
    loads an ``optimizer.pt`` with a flipped bit without a message, and training continues from wrong moments. At full
    depth the CRC of every record is checked. A truncated file has no zip directory; a file of another kind in its place
    (another program's pickle, a checkpoint of torch before 1.6) is malformed, too. So is what
    ``torch.load(weights_only=True)`` of torch 2.13 refuses: instructions of pickle protocol 4, an unknown record
    ``version`` or ``byteorder``.

    Archives written with ``torch.serialization.set_crc32_options(False)`` have zeros for every CRC: their bytes cannot
    be checked, and if nothing else is wrong the rule is not applicable. A resume does not read ``training_args.bin``,
    so damage to it is an error that does not block.
    """
    damaged = {
        path: f"{path} {damage.message}"
        for path, (_, damage) in malformed(checkpoint, FileFormat.TORCH, FileFormat.PICKLE).items()
    }
    damaged.update(_refused(checkpoint))
    damaged.update(_strangers(checkpoint))
    for path, message in damaged.items():
        yield from report(checkpoint, path, message)
    unsealed = []
    for path, file in _archives(checkpoint).items():
        if not file.archive.crc_written:
            unsealed.append(path)
        elif path not in damaged and (wrong := _wrong(checkpoint, file)):
            more = and_more(wrong, " and {} more")
            message = f"{path} was changed after it was written: the CRC of {wrong[0]}{more} is wrong"
            yield from report(checkpoint, path, message)
    if unsealed and not damaged:
        raise NotApplicable(
            f"the structure is sound; {unsealed[0]} was written without CRCs, so its bytes cannot be judged"
        )


def _archives(checkpoint: Checkpoint) -> dict[str, File]:
    return {
        path: file
        for path, file in checkpoint.files.items()
        if file.format in (FileFormat.TORCH, FileFormat.PICKLE)
        and file.readable
        and hasattr(file.optional("value"), "crc_written")
    }


def _refused(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the archives that a resume cannot load, with the reason; names are for security/unsafe-pickle."""
    layout = checkpoint.layout
    found = {}
    for path in layout.read_by_resume:
        role = loaded_as(path, layout)
        if role in ("", "rng") and path in checkpoint.files and _is_readable(checkpoint.files[path], role):
            reason = getattr(checkpoint.files[path].value, "refusal", "")
            if reason:
                found[path] = f"{path} cannot be loaded by a resume (weights_only): its pickle {reason}"
    return found


def _strangers(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the sound archives whose contents do not match their name, with the reason."""
    layout = checkpoint.layout
    found: dict[str, str] = {}
    for role in ("optimizer", "scheduler", "scaler"):
        path = getattr(layout, role)
        if path and _is_readable(checkpoint.files[path], loaded_as(path, layout)):
            try:
                getattr(checkpoint, role)
            except NotApplicable as reason:
                found[path] = str(reason)
    states = checkpoint.optional("rng") or {}
    for path in layout.rng:
        if not _is_readable(checkpoint.files[path], "rng"):
            continue
        if path not in states:
            found[path] = f"{path} has no states of random number generators"
        elif states[path].problems:
            found[path] = f"{path} {states[path].problems[0]}"
    return found


def _is_readable(file: File, role: str) -> bool:
    """Say whether a file is a sound archive; one that is unsafe has its finding already."""
    value = file.optional("value") if file.readable and file.format == FileFormat.TORCH else None
    return value is not None and not any(refused_in_torch_file(name, role) for name in value.names)


def _wrong(checkpoint: Checkpoint, file: File) -> list[str]:
    """Return the names of the records whose bytes do not have the CRC that was written."""
    scan = (checkpoint.optional("scan") or {}).get(file.path)
    if scan is None or scan.error:
        return []
    written = file.archive.records
    return [
        name
        for name, found in scan.spans.items()
        if found.complete and name in written and found.crc != written[name].crc
    ]
