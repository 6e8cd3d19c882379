"""What the outcome of a rule may rest on, part by part: the entries of a checkpoint, its seal, its neighbours, ...

A part is named ``checkpoint-100`` (its entries) or ``checkpoint-100!KIND[:FILE]``; the kinds are those of
:data:`audit.facts.checkpoint.BEYOND`.
"""

from collections.abc import Callable, Mapping
from json import JSONEncoder
from typing import Any

from audit.facts.checkpoint import BASE, BYTES, MEMBERS, NEIGHBOURS, OLDER_BYTES, PREVIOUS, SEAL, SESSION, Checkpoint
from audit.facts.run import Run
from audit.ledger.scans import is_stamp_of
from audit.storage import FILE

_JSON = JSONEncoder(sort_keys=True, default=repr)

_SHORT = 64
"""Characters. A value whose text is not longer stands for itself."""


def digest_of_part(run: Run, checkpoint: Checkpoint, kind: str, path: str) -> str | None:
    """Return what must be the same for an outcome to hold, None if the part cannot be relied on."""
    value = PARTS[kind](run, checkpoint, path)
    if value is None:
        return None
    text = _JSON.encode(value)
    if len(text) <= _SHORT:
        return text
    from blake3 import blake3

    return blake3(text.encode("ascii")).hexdigest(16)


def _entries(run: Run, checkpoint: Checkpoint, path: str) -> Any:
    """The entries of a checkpoint, if every file that can be read is as it was when it was scanned.

    The times of inodes are left to the scans: a hard link changes them, and who makes one renews the scans.
    """
    if checkpoint.unlistable or checkpoint.overfull:
        return None
    found = []
    for name, entry in checkpoint.entries.items():
        if entry.kind == FILE and not entry.escapes:
            key = (checkpoint.name, name)
            stamp = run.stamps.get(key) or run.records.scans.get(key, ("",))[0]
            if not is_stamp_of(stamp, entry):
                return None
        place = entry.inode, entry.version, entry.target, entry.escapes
        found.append((name, entry.kind, entry.size, entry.mtime_ns, *place))
    return found


def _seal(run: Run, checkpoint: Checkpoint, path: str) -> Any:
    return [run.records.seals.get(checkpoint.name), run.records.snapshot, bool(run.records.batches.legs)]


def _base(run: Run, checkpoint: Checkpoint, path: str) -> Any:
    history = checkpoint.optional("history")
    return history is not None and [history.base is not None, history.base_count]


def _previous(run: Run, checkpoint: Checkpoint, path: str) -> Any:
    previous = checkpoint.optional("previous")
    return previous is not None and previous.name


def _neighbours(run: Run, checkpoint: Checkpoint, path: str) -> Any:
    return [item is not None and item.name for item in checkpoint.neighbours]


def _session(run: Run, checkpoint: Checkpoint, path: str) -> Any:
    session = checkpoint.optional("session")
    return session is not None and [sorted(session.usual_adapters), session.scaler]


def _members(run: Run, checkpoint: Checkpoint, path: str) -> Any:
    session = checkpoint.optional("session")
    return session is not None and [[item.name for item in session.members], dict(session.adapter_directories)]


def _same_bytes(run: Run, checkpoint: Checkpoint, path: str) -> Any:
    return _sharing(run, checkpoint, path, None)


def _same_older_bytes(run: Run, checkpoint: Checkpoint, path: str) -> Any:
    return _sharing(run, checkpoint, path, checkpoint.step)


def _sharing(run: Run, checkpoint: Checkpoint, path: str, below: int | None) -> Any:
    digest = run.digests_of(checkpoint).get(path)
    return [item.name for item in run.with_same_bytes(path, digest, below)] if digest else []


PARTS: Mapping[str, Callable[[Run, Checkpoint, str], Any]] = {
    "": _entries,
    BASE: _base,
    SEAL: _seal,
    PREVIOUS: _previous,
    NEIGHBOURS: _neighbours,
    SESSION: _session,
    MEMBERS: _members,
    BYTES: _same_bytes,
    OLDER_BYTES: _same_older_bytes,
}
