"""security/escaping-path."""

import re
from collections.abc import Iterator

from audit.plugin import LINK, Checkpoint, PickleCall, Run, Severity, Violation, is_metadata, rule, shortened
from audit_rules.security._links import leads_inside

_SHOWN = 200


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Replace the link or path by the file itself, after you have checked where it leads.",
)
def escaping_path(run: Run) -> Iterator[Violation]:
    """A link or a path inside a file leads out of the checkpoint.

    Its target changes, moves or disappears independently of the checkpoint, a copy of the run does not contain it, and
    an untrusted checkpoint can make a resume read any file of this machine. Checked are symbolic links (they are not
    followed), the shard names in the index of sharded weights, which transformers joins to the directory unchanged, the
    tag in DeepSpeed's ``latest``, and the file names in the metadata of a sharded state.

    A ``checkpoint-N`` that is a link itself is not opened, wherever it leads, but Trainer would resume from it, so it
    is reported for the run. A link to another file of the same checkpoint is followed and not reported.
    """
    for name, entry in run.entries.items():
        if entry.kind != LINK or run.backend.checkpoint_step(name) is None:
            continue
        if entry.escapes or leads_inside(run, entry):
            yield Violation(
                f"{name} is a link to {_short(entry.target)} and was not opened",
                file=name,
                blocks_resume=False,
                remedy="Replace it by the directory itself; Trainer follows the link, the audit does not.",
            )
    for checkpoint in run.judged:
        for path, entry in checkpoint.entries.items():
            if entry.escapes:
                yield Violation(
                    f"{path} is a link that leads out of the checkpoint, to {_short(entry.target)}",
                    checkpoint=checkpoint.name,
                    file=path,
                    actual=_short(entry.target),
                )
        for path, wanted in _named_paths(checkpoint):
            if _leads_out(wanted):
                yield Violation(
                    f"{path} names a file outside the checkpoint: {_short(wanted)}",
                    checkpoint=checkpoint.name,
                    file=path,
                    actual=_short(wanted),
                )
                break


def _named_paths(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """Yield the paths, relative to the checkpoint, that its files name, each after the file that names it."""
    layout = checkpoint.optional("layout")
    if layout is None:
        return
    index = checkpoint.files[layout.shard_index].optional("value") if layout.shard_index else None
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if isinstance(shards, dict):
        yield from ((layout.shard_index, name) for name in shards.values() if isinstance(name, str))
    if layout.kind == "deepspeed" and "latest" in checkpoint.files:
        tag = checkpoint.files["latest"].optional("text")
        yield "latest", (tag or b"").decode("utf-8", "replace").strip()
    for path in (*layout.sharded_weights, *layout.sharded_optimizer):
        if is_metadata(path):
            root = getattr(checkpoint.files[path].optional("value"), "value", None)
            state = root.state if type(root) is PickleCall else None
            stored = state.get("storage_data") if type(state) is dict else None
            for item in stored.values() if type(stored) is dict else ():
                place = (
                    item.state.get("relative_path") if type(item) is PickleCall and type(item.state) is dict else None
                )
                if isinstance(place, str):
                    yield path, place


def _leads_out(path: str) -> bool:
    return path.startswith(("/", "\\", "~")) or bool(re.match(r"[A-Za-z]:", path)) or ".." in re.split(r"[/\\]", path)


def _short(path: str | None) -> str:
    return shortened(path or "?", _SHOWN)
