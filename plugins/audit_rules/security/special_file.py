"""security/special-file."""

import posixpath
from collections.abc import Iterator

from audit.plugin import DIRECTORY, LINK, SPECIAL, Checkpoint, Entry, Run, Severity, Violation, rule
from audit_rules.security._links import leads_inside


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Find out who put it there and remove it; trainers write only files and directories.",
)
def special_file(run: Run) -> Iterator[Violation]:
    """An entry of a checkpoint is neither a file nor a directory: a FIFO, a device, a socket, a broken link.

    A resume that opens a FIFO hangs, one that reads a device may never end, and a link that loops or whose target is
    gone is a missing file. The audit opens none of them. For links out of the checkpoint see security/escaping-path.
    """
    for name, entry in run.entries.items():
        if run.backend.checkpoint_step(name) is None:
            continue
        if entry.kind == SPECIAL:
            yield Violation(f"{name} is a FIFO, a device or a socket", file=name, blocks_resume=False)
        elif entry.kind == LINK and not entry.escapes and not leads_inside(run, entry):
            yield Violation(f"{name} is a link to {entry.target}, which does not exist", file=name, blocks_resume=False)
    for checkpoint in run.judged:
        for path, entry in checkpoint.entries.items():
            if entry.kind == SPECIAL:
                message = f"{path} is a FIFO, a device or a socket"
            elif entry.kind == LINK and not entry.escapes:
                message = f"{path} is a link to {entry.target}, {_fault(checkpoint, path, entry)}"
            else:
                continue
            yield Violation(message, checkpoint=checkpoint.name, file=path)


def _fault(checkpoint: Checkpoint, path: str, entry: Entry) -> str:
    """Say what is wrong with a link that stays inside and does not lead to a file."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), entry.target or ""))
    if target == "." or path.startswith(f"{target}/") or target == path:
        return "which leads back to itself"
    found = checkpoint.entries.get(target)
    if found is None:
        return "which does not exist"
    if found.kind == DIRECTORY:
        return "a directory, which is not followed"
    return "which leads nowhere"
