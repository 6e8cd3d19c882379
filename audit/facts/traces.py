"""What shows that something was trained in a run that has no ``checkpoint-N`` of its own.

Many layouts are no checkpoint to Trainer's own search: ``last-checkpoint`` (``hub_strategy="checkpoint"``), the runs of
a hyper-parameter search, what accelerate, Lightning, DeepSpeed and Megatron write. To call such a directory a fresh
start would train over finished work.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from audit.backend.names import is_checkpoint, is_checkpoint_of_any
from audit.facts.file import METADATA
from audit.facts.other_trainers import other_trainer
from audit.formats.damage import Damage
from audit.formats.trainer_state import read_trainer_state
from audit.storage import DIRECTORY, FILE, LINK, Entry, Storage
from audit.text import listed

MAX_DEPTH = 5
"""Directory levels that are searched; a hyper-parameter search and Lightning need three."""

MAX_ENTRIES = 20_000
"""Entries that are looked at. A fresh output directory has none."""

STATE = "trainer_state.json"
_FRESH = "give an empty directory, or start over with --allow-fresh"
_WEIGHTS = re.compile(
    r"(adapter_model|pytorch_model|model|diffusion_pytorch_model|pytorch_lora_weights)[^/]*\.(safetensors|bin)"
    r"|[^/]*\.safetensors"
)
_OPTIMIZER = re.compile(r"optimizer(_[0-9]+)?\.(pt|bin)")
_DEEPSPEED = re.compile(r"global_?step_?[0-9]+")


class Trace(NamedTuple):
    """What was found at ``path`` (relative to the run, "" is the run itself), and what to do about it.

    ``checkpoint``: it is a checkpoint, of a trainer or under a name that no backend reads. ``runs``: the directories
    below that are runs of their own, if that is what was found.
    """

    path: str
    what: str
    remedy: str
    checkpoint: bool = True
    runs: tuple[str, ...] = ()

    @property
    def holds_runs(self) -> bool:
        """Whether the directory is no run, and holds others."""
        return bool(self.runs) and self.runs != (".",)

    def __str__(self) -> str:
        place = self.path or "the run itself"
        return f"{place} is {self.what}; {self.remedy}"


class _Folder(NamedTuple):
    """One directory: its entries by name, those of its subdirectories not included."""

    path: str
    entries: Mapping[str, Entry]

    def files(self) -> Iterator[str]:
        return (name for name, entry in self.entries.items() if entry.kind in (FILE, LINK))

    def has(self, name: str) -> bool:
        return name in self.entries and self.entries[name].kind in (FILE, LINK)

    def matching(self, pattern: re.Pattern[str], kinds: Iterable[str] = (FILE, LINK)) -> str | None:
        found = (name for name, entry in self.entries.items() if entry.kind in kinds and pattern.fullmatch(name))
        return min(found, default=None)


def trace_in(storage: Storage) -> Trace | None:
    """Return what tells best that something was trained here, None if nothing does; checkpoints are not looked for.

    Only names are read, and a trainer state for its step. Directories that begin with a dot are left out. What could
    not be looked at is no fresh start either.
    """
    folders, unread = _folders(storage)
    for kind in (_trainer, _other, _accelerate, _deepspeed, _dcp, _lightning, _root_state, _parts):
        for folder in folders:
            found = kind(folder, storage)
            if found is not None:
                return _with_all_runs(found, folders, storage)
    return unread


def _with_all_runs(trace: Trace, folders: Iterable[_Folder], storage: Storage) -> Trace:
    """Name all runs below, if the trace is one of them."""
    if not trace.runs:
        return trace
    found = (kind(folder, storage) for folder in folders for kind in (_trainer, _accelerate, _dcp, _lightning))
    runs = tuple(sorted({run for item in found if item is not None for run in item.runs}))
    if len(runs) == 1:
        return trace
    remedy = f"name one of the {len(runs)} runs below it ({listed(runs)}), or audit them all with audit fleet"
    return trace._replace(remedy=remedy, runs=runs)


def layout_of(entries: Mapping[str, Entry]) -> str | None:
    """Return what saved a directory with these entries in words, None if they are of no layout that is known."""
    folder = _Folder("", {path: entry for path, entry in entries.items() if "/" not in path})
    for kind in (_other, _accelerate, _deepspeed, _dcp, _lightning):
        found = kind(folder, None)
        if found is not None:
            return found.what
    return None


def no_checkpoint(path: str, storage: Storage) -> str:
    """Say that a run has no checkpoint-N, and what is there instead; ``path`` is the run as the user named it."""
    return without_checkpoint(path, trace_in(storage))


def without_checkpoint(path: str, found: Trace | None) -> str:
    """Say that a run has no checkpoint-N, and what was ``found`` instead."""
    return f"{path}: no checkpoint-N directory in it" + (f", but {found}" if found else "")


def unread_checkpoint(path: str, entries: Mapping[str, Entry], storage: Storage) -> Trace | None:
    """Return what checkpoint a directory surely is, or holds, that is not read where it is; None if that is not sure.

    :func:`trace_in` has to be careful in the other direction: there a doubt is no fresh start. Here names that others
    use, too, say nothing, nor does what may be a model that somebody downloaded.
    """
    folder = _Folder(path, entries)
    found = other_trainer(path, entries, storage)
    if found is not None:
        return None if found.model else _other(folder, storage)
    if is_checkpoint(path.rpartition("/")[2]):
        return None
    if folder.has("random_states_0.pkl"):
        return _accelerate(folder, storage)
    if any(name.endswith(".distcp") for name in folder.files()):
        return _dcp(folder, storage)
    return _trainer(folder, storage) if folder.has(STATE) and folder.matching(_OPTIMIZER) else None


def _folders(storage: Storage) -> tuple[list[_Folder], Trace | None]:
    """Walk breadth first, so that what is nearest to the root is found first; and say what could not be looked at."""
    found: list[_Folder] = []
    unread: Trace | None = None
    waiting, left = [("", 1)], MAX_ENTRIES
    while waiting:
        path, level = waiting.pop(0)
        try:
            entries = storage.list(path)
        except OSError as error:
            unread = Trace(path, f"a directory that cannot be listed ({error.strerror or error})", _FRESH, False)
            continue
        if len(entries) > left:
            return found, Trace(
                path, f"one of more than {MAX_ENTRIES} files, which is not a fresh output directory", _FRESH, False
            )
        left -= len(entries)
        found.append(_Folder(path, {entry.name: entry for entry in entries}))
        if level < MAX_DEPTH:
            below = (entry for entry in entries if entry.kind == DIRECTORY and not entry.name.startswith("."))
            waiting += [(entry.path, level + 1) for entry in below]
    return found, unread


def _trainer(folder: _Folder, storage: Storage) -> Trace | None:
    """A directory with a trainer state and something to resume from beside it."""
    if not folder.path or not folder.has(STATE):
        return None
    sharded = any(entry.kind == DIRECTORY for entry in folder.entries.values())
    if not sharded and all(folder.matching(pattern) is None for pattern in (_OPTIMIZER, _WEIGHTS)):
        return None
    step = _step(folder, storage)
    home, _, name = folder.path.rpartition("/")
    if is_checkpoint(name):
        return _run_below(folder.path, "a Trainer checkpoint, in a run of its own", home or ".")
    if step is None:
        return Trace(folder.path, "a Trainer checkpoint", "rename it to checkpoint-N, where N is its global_step")
    return Trace(folder.path, f"a Trainer checkpoint of step {step}", f"rename {folder.path} to checkpoint-{step}")


def _accelerate(folder: _Folder, storage: Storage | None) -> Trace | None:
    if folder.has("random_states_0.pkl") or (folder.has("optimizer.bin") and not folder.has(STATE)):
        what = "a checkpoint of accelerate (save_state)"
        return _elsewhere(folder, what, "step_N, where N counts the optimizer's updates")
    return None


def _deepspeed(folder: _Folder, storage: Storage | None) -> Trace | None:
    tag = folder.matching(_DEEPSPEED, (DIRECTORY,))
    if tag is None and not folder.has("latest"):
        return None
    path = _below(folder, tag or "latest")
    what = "a checkpoint of DeepSpeed or another trainer that names its directories so"
    what = what if tag else "DeepSpeed's note of its latest checkpoint"
    return Trace(path, what, "it is not judged here", tag is not None)


def _other(folder: _Folder, storage: Storage | None) -> Trace | None:
    """What a trainer left whose checkpoints no backend reads."""
    found = other_trainer(folder.path, folder.entries, storage)
    if found is None:
        return None
    place = _below(folder, found.name) if found.name else folder.path
    return Trace(place, found.what, found.remedy, not found.model)


def _dcp(folder: _Folder, storage: Storage | None) -> Trace | None:
    if folder.has(METADATA) or any(name.endswith(".distcp") for name in folder.files()):
        what = "a checkpoint of torch.distributed.checkpoint (FSDP, torchtitan)"
        return _elsewhere(folder, what, "step-N, where N is its step")
    return None


def _lightning(folder: _Folder, storage: Storage | None) -> Trace | None:
    found = next((name for name in sorted(folder.entries) if name.endswith(".ckpt")), None)
    if found is None:
        return None
    what = "a checkpoint of PyTorch Lightning or another trainer that writes .ckpt"
    if folder.path:
        return _run_below(_below(folder, found), what, folder.path)
    return Trace(found, what, "it is not judged here")


def _root_state(folder: _Folder, storage: Storage) -> Trace | None:
    if not folder.has(STATE):
        return None
    step = _step(folder, storage)
    reached = f" at step {step}" if step is not None else ""
    what = f"what save_state() left{reached}" if not folder.path else f"a trainer state{reached}"
    remedy = "find the checkpoints that belong to it, or start over with --allow-fresh"
    return Trace(folder.path, what, remedy, False)


def _parts(folder: _Folder, storage: Storage) -> Trace | None:
    for pattern, what in ((_OPTIMIZER, "an optimizer state"), (_WEIGHTS, "a file of trained weights")):
        name = folder.matching(pattern)
        if name is not None:
            return Trace(_below(folder, name), what, _FRESH, False)
    return None


def _elsewhere(folder: _Folder, what: str, pattern: str) -> Trace:
    """A checkpoint that is read, but not where it is."""
    home, _, name = folder.path.rpartition("/")
    if is_checkpoint_of_any(name):
        return _run_below(folder.path, what, home or ".")
    if folder.path:
        return Trace(folder.path, what, f"rename it to {pattern}")
    return Trace(folder.path, what, f"move it into a directory {pattern}, and name the run above it")


def _run_below(path: str, what: str, run: str) -> Trace:
    return Trace(path, what, f"name the run below it: {run}", runs=(run,))


def _step(folder: _Folder, storage: Storage) -> int | None:
    entry = folder.entries[STATE]
    if entry.kind != FILE:
        return None
    try:
        with storage.open(entry.path) as source:
            found = read_trainer_state(source)
    except OSError:
        return None
    return None if isinstance(found, Damage) or found.state is None else found.state.global_step


def _below(folder: _Folder, name: str) -> str:
    return f"{folder.path}/{name}" if folder.path else name
