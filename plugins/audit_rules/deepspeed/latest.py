"""deepspeed/latest."""

import re
from collections.abc import Iterator

from audit.plugin import DIRECTORY, Checkpoint, Layout, NotApplicable, Severity, Violation, rule

_TAG = re.compile(r"[A-Za-z0-9_.-]{1,255}", re.ASCII)


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint. If exactly one global_stepN is there and complete, write its name into "
    "latest instead.",
    explained_by=("files/incomplete-checkpoint", "security/escaping-path", "security/special-file"),
)
def latest(checkpoint: Checkpoint, layout: Layout) -> Iterator[Violation]:
    """The file latest does not name a directory with DeepSpeed's state.

    DeepSpeed 0.19, ``load_checkpoint``: the text of ``latest`` alone decides which directory is loaded, whatever others
    are beside it. If it is missing, Trainer stops with "failed to resume from checkpoint"; if it is empty or names
    nothing that is there, DeepSpeed raises. After a power loss such files are often full of zero bytes.
    """
    if layout.kind != "deepspeed":
        raise NotApplicable("DeepSpeed did not save it")
    if "latest" not in layout.owed:
        raise NotApplicable("latest is in the run's root, and a resume may name the checkpoint itself")
    file = checkpoint.files.get("latest")
    if file is None:
        if checkpoint.stands_in("latest") is None:
            yield Violation("latest is not there: DeepSpeed does not know which state to load", file="latest")
        return
    if not file.readable:
        raise NotApplicable("latest is not a regular file")
    data = file.optional("text") if file.entry.size else b""
    tag = data.decode("utf-8", "replace").strip() if data is not None else None
    if tag is None:
        yield Violation("latest is not a short text: DeepSpeed does not know which state to load", file="latest")
    elif not tag:
        yield Violation("latest is empty: DeepSpeed does not know which state to load", file="latest")
    elif not _TAG.fullmatch(tag):
        yield Violation("latest names no directory: DeepSpeed does not know which state to load", file="latest")
    elif tag not in checkpoint.entries or checkpoint.entries[tag].kind != DIRECTORY:
        yield Violation(f"latest names {tag}, which is not there", file="latest", actual=tag)
