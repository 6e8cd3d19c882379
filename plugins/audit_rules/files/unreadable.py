"""files/unreadable."""

from collections.abc import Iterator

from audit.plugin import Checkpoint, DamageKind, Severity, Violation, rule


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Run as the user who trained, or have the permissions changed; weight files are written with mode 0600.",
)
def unreadable(checkpoint: Checkpoint) -> Iterator[Violation]:
    """A file or directory is there, but the operating system does not allow reading it.

    This is not "missing": safetensors writes its files with mode 0600 (others get 0644), so an audit or a resume by
    another user sees them and cannot open them. Input/output errors of a failing disk are reported here, too.
    """
    for place in sorted(checkpoint.unlistable):
        what = f"{place}/" if place else "the directory of the checkpoint"
        yield Violation(f"{what} cannot be listed, so its contents are unknown", file=place or None)
    known = set()
    for file, damage in checkpoint.damages:
        known.add(file.path)
        if damage.kind is DamageKind.UNREADABLE:
            yield Violation(f"{file.path} {damage.message}", file=file.path)
    for path, scan in (checkpoint.optional("scan") or {}).items():
        if scan.error and path not in known:
            yield Violation(f"{path} {scan.error}", file=path)
