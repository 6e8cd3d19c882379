"""Two checkpoints side by side: files, tensors, arguments, adapters, what the trainer recorded.

Everything goes through the readers of :mod:`audit.formats`: nothing is loaded, nothing executed. Tensors are read block
by block, so memory is bounded by their number, not by their size.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from audit.backend.protocol import Backend
from audit.errors import AuditError
from audit.facts.checkpoint import Checkpoint
from audit.facts.completeness import CheckpointState
from audit.facts.file import File
from audit.facts.place import Place
from audit.facts.run import open_run
from audit.facts.traces import no_checkpoint
from audit.judging.auditor import refuse_unread
from audit.text import key_text, plain
from audit.views.summary import details
from audit.views.tensors import TensorChange, compare_tensors

UNORDERED = frozenset({"target_modules", "modules_to_save", "exclude_modules", "label_names"})
"""Lists that PEFT and Trainer make of sets: their order is another one in every process."""

_VALUES = 10_000
"""Values of one section that are compared; real ones have some two hundred."""


class Files(NamedTuple):
    """Files by path: those that only one checkpoint has, those that differ in their bytes, those that are the same."""

    removed: tuple[str, ...]
    added: tuple[str, ...]
    changed: tuple[str, ...]
    same: tuple[str, ...]


class Comparison(NamedTuple):
    """What is different in ``b``; ``values`` by section and name as (a, b), None if there is no such value.

    ``relation`` says how the two logs belong together. ``sharded``: there are weights that are in pieces of tensors
    which cannot be put together and are compared as files alone. ``troubles`` are sentences about what
    could not be compared.
    """

    a: str
    b: str
    relation: str
    sharded: bool
    files: Files
    tensors: tuple[TensorChange, ...]
    same_tensors: int
    values: Mapping[str, Mapping[str, tuple[Any, Any]]]
    troubles: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether every file is the same, byte for byte; only then nothing else can differ."""
        return not (self.files.removed or self.files.added or self.files.changed or self.troubles)


def open_checkpoint(path: str | Place, backends: Sequence[Backend]) -> Checkpoint:
    """Return one checkpoint, or the newest one of a run. Raises AuditError: none there, or not written to its end."""
    run = open_run(path, backends, depth="quick")
    refuse_unread(run)
    if not run.judged:
        raise AuditError(no_checkpoint(run.path, run.storage))
    checkpoint = run.judged[-1]
    completeness = checkpoint.optional("completeness")
    if completeness is None or completeness.state is not CheckpointState.COMPLETE:
        why = f"is {completeness.state}: {completeness.reason}" if completeness else "cannot be listed"
        raise AuditError(f"{run.path}: {checkpoint.name} {why}; it cannot be compared")
    return checkpoint


def compare(a: Checkpoint, b: Checkpoint) -> Comparison:
    """Compare two complete checkpoints, of one run or of two."""
    troubles: list[str] = []
    files = _files(a, b, troubles)
    changes, same, in_pieces = compare_tensors(a, b, frozenset(files.same), troubles)
    values = {}
    mine, other = _sections(a), _sections(b)
    for title in dict.fromkeys([*mine, *other]):
        changed = _changed(mine.get(title, {}), other.get(title, {}))
        if changed:
            values[title] = changed
    return Comparison(_path(a), _path(b), _relation(a, b), in_pieces, files, changes, same, values, tuple(troubles))


def _path(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.run.path.rstrip('/')}/{checkpoint.name}"


def _relation(a: Checkpoint, b: Checkpoint) -> str:
    first, second = a.optional("history"), b.optional("history")
    if first is None or second is None:
        return "the log of one cannot be read"
    common = first.common(list(second))
    if common == len(first) == len(second):
        return f"the same log of {common} entries"
    if common == len(first):
        return f"B continues A: its log begins with the {common} entries of A's" if common else "A has logged nothing"
    if common == len(second):
        return f"A continues B: its log begins with the {common} entries of B's" if common else "B has logged nothing"
    return f"the logs part after {common} common entries" if common else "different runs: the logs share no entry"


def _files(a: Checkpoint, b: Checkpoint, troubles: list[str]) -> Files:
    changed: list[str] = []
    same: list[str] = []
    for path in sorted(a.files.keys() & b.files.keys()):
        found = _same_file(a.files[path], b.files[path], troubles)
        if found is not None:
            (same if found else changed).append(path)
    return Files(
        tuple(sorted(a.files.keys() - b.files.keys())),
        tuple(sorted(b.files.keys() - a.files.keys())),
        tuple(changed),
        tuple(same),
    )


def _same_file(mine: File, other: File, troubles: list[str]) -> bool | None:
    """Whether two files hold the same bytes, None if that cannot be said."""
    from audit.scan.differences import same_bytes

    for side, file in (("A", mine), ("B", other)):
        if not file.readable or file.entry.sparse:
            what = "claims far more bytes than it holds" if file.readable else "is no regular file of the checkpoint"
            troubles.append(f"{side}: {file.path} {what}; it is not compared")
            return None
    if mine.entry.size != other.entry.size:
        return False
    try:
        with mine.open() as first, other.open() as second:
            return first.size == second.size and same_bytes(first, second, 0, 0, first.size)
    except OSError as error:
        troubles.append(f"{mine.path} cannot be read: {error.strerror or error}")
        return None


def _sections(checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """What is compared by value: a section's names and plain values, those of nested objects by dotted names."""
    shown = details(checkpoint)
    shown.pop("files", None)
    shown["training arguments"] = plain(checkpoint.optional("arguments") or {})
    for adapter in checkpoint.optional("adapters") or ():
        shown[f"adapter {adapter.files.name}"] = plain(adapter.config)
    flat: dict[str, dict[str, Any]] = {}
    for title, values in shown.items():
        flat[title] = {}
        _flatten("", values, flat[title])
    return flat


def _flatten(prefix: str, value: Any, found: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            if len(found) < _VALUES:
                _flatten(f"{prefix}.{key_text(key)}" if prefix else key_text(key), item, found)
    elif isinstance(value, list) and prefix.rpartition(".")[2] in UNORDERED:
        found[prefix] = sorted(value, key=str)
    else:
        found[prefix] = value


def _changed(mine: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = dict.fromkeys([*mine, *other])
    return {name: (mine.get(name), other.get(name)) for name in names if mine.get(name) != other.get(name)}
