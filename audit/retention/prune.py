"""Prune: remove old checkpoints, and never the ones that matter.

The newest N proven checkpoints stay, everything newer than the oldest of them, and the best; what is older goes, proven or
not. So nothing is removed where fewer than N are proven, and the last proven checkpoint never is.

Each goes in three steps: a row in the ledger, a rename to ``.audit/trash/``, and, when all are there, deletion. However
this is interrupted, a checkpoint is whole in its place or out of every trainer's sight; the next call empties the trash.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

from audit.audit_dir import TRASH
from audit.errors import AuditError, RefusedError
from audit.facts.checkpoint import Checkpoint
from audit.facts.run import Run
from audit.judging.at_rest import moved
from audit.judging.proving import Proof, place_of, prove, run_of
from audit.ledger import events
from audit.ledger.records import read_records
from audit.manager import Registry, load
from audit.options import Options
from audit.retention.copying import sync
from audit.retention.keeping import Choice, Kept, choose
from audit.retention.lock import RunLock, holder_of
from audit.retention.quarantine import unchanged
from audit.retention.trash import empty, place_for

if TYPE_CHECKING:
    from audit.ledger.store import Ledger

_FULL = 1 << 20
"""Free bytes below which a disk counts as full: a ledger that cannot be written is no reason then not to make room."""


class Removed(NamedTuple):
    """A checkpoint that goes; ``bytes`` is the size of its files, ``proven`` whether it could have been resumed from."""

    checkpoint: str
    bytes: int
    proven: bool


class Pruned(NamedTuple):
    """What was done, or in a dry run would be: ``cleared`` counts what an interrupted call had left in the trash."""

    kept: tuple[Kept, ...]
    removed: tuple[Removed, ...]
    cleared: int = 0
    notes: tuple[str, ...] = ()


def prune(
    path: str,
    keep: int,
    options: Options | None = None,
    *,
    keep_best: bool = False,
    dry_run: bool = False,
    registry: Registry | None = None,
    lock: RunLock | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Pruned:
    """Judge a run at full depth, then remove all but the ``keep`` newest proven checkpoints and the best.

    ``keep_best`` keeps also the best by the logged metric, where the trainer recorded none. The run's lock is held
    meanwhile; a caller who has it already gives it as ``lock``. Raises RefusedError, and nothing was removed: the run is
    being trained, or :func:`audit.retention.keeping.choose` refuses, or the ledger cannot be trusted or written; AuditError where it cannot be
    done.
    """
    root = run_of(path)
    chosen, plugins = options or Options(), registry or load()
    if dry_run:
        if lock is None and (holder := holder_of(root)) is not None:
            raise RefusedError(f"{path}: {holder}")
        proof = prove(path, chosen, plugins, record=False, progress=progress)
        choice = choose(proof.run, proof.proven, keep, keep_best)
        return Pruned(choice.kept, _removed(choice, proof))
    with nullcontext(lock) if lock is not None and lock.held else RunLock(root, "pruned") as held:
        cleared = empty(root)
        proof = prove(path, chosen, plugins, progress=progress)
        choice = choose(proof.run, proof.proven, keep, keep_best)
        _check_ledger(proof.run)
        notes = list(proof.report.notes)
        if held.unprotected:
            notes.append(held.unprotected)
        if choice.removed:
            _make_sure(proof, choice)
            notes += _remove(root, proof.run, choice)
    return Pruned(choice.kept, _removed(choice, proof), cleared, tuple(dict.fromkeys(notes)))


def _removed(choice: Choice, proof: Proof) -> tuple[Removed, ...]:
    return tuple(Removed(item.name, item.bytes, item in proof.proven) for item in choice.removed)


# -- removing -----------------------------------------------------------------------------------------------------


def _check_ledger(run: Run) -> None:
    """Raise RefusedError where what is removed could not be recorded: that would look like a loss afterwards."""
    records = run.records
    problem = records.unusable or records.edited
    if problem is None and records.unwritable is not None and not _is_full(run.path):
        problem = records.unwritable
    if problem:
        raise RefusedError(f"{problem}; so nothing is removed")


def _make_sure(proof: Proof, choice: Choice) -> None:
    """Bring what stays to the disk before the rest goes: a trainer does not, and the power may fail right after.

    Raises RefusedError where a checkpoint changed while it was judged: somebody trains here without the lock.
    """
    for checkpoint in proof.proven:
        if checkpoint in choice.removed:
            continue
        home = place_of(checkpoint)
        try:
            for path in checkpoint.entries:
                sync(os.path.join(home, path))
            sync(home)
        except OSError as error:
            raise RefusedError(
                f"{home}: cannot be brought to the disk ({error.strerror}); nothing is removed"
            ) from error
    if changed := moved(proof.run):
        names = ", ".join(sorted(changed))
        raise RefusedError(f"{proof.run.path}: {names} changed while it was judged; nothing is removed, try again")


def _remove(root: str, run: Run, choice: Choice) -> list[str]:
    """Remove, the oldest first; return what could not be done afterwards."""
    later: list[Checkpoint] = []
    _, ledger = read_records(root, write=True)
    try:
        for checkpoint in choice.removed:
            unchanged(root, checkpoint)
            if not _note(root, ledger, checkpoint):
                later.append(checkpoint)
            source, place = os.path.join(root, checkpoint.name), place_for(root, checkpoint.name)
            try:
                os.rename(source, place)
            except FileNotFoundError:
                continue  # somebody else was faster
            except OSError as error:
                raise AuditError(f"{source}: cannot be moved to {place}: {error.strerror or error}") from error
            if place == os.path.join(root, TRASH):
                empty(root)
    finally:
        if ledger is not None:
            ledger.close()
    try:
        empty(root)
    except AuditError as error:
        return [str(error)]
    return _note_later(root, later)


def _note(root: str, ledger: "Ledger | None", checkpoint: Checkpoint) -> bool:
    """Record that a checkpoint goes; False where the disk is too full for that. Raises AuditError."""
    from audit.ledger.store import LedgerError

    if ledger is None:
        if not _is_full(root):
            raise AuditError(f"{root}: the ledger cannot be written, so {checkpoint.name} is not removed")
        return False
    try:
        ledger.append(events.Pruned(checkpoint.name, checkpoint.step, checkpoint.bytes))
    except LedgerError as error:
        if not _is_full(root):
            raise AuditError(f"{error}; so {checkpoint.name} is not removed") from error
        return False
    return True


def _note_later(root: str, checkpoints: Sequence[Checkpoint]) -> list[str]:
    """Record what there was no room for before."""
    if not checkpoints:
        return []
    _, ledger = read_records(root, write=True)
    try:
        if ledger is None or not all(_note(root, ledger, item) for item in checkpoints):
            return ["not recorded: the disk is full"]
    except AuditError as error:
        return [f"not recorded: {error}"]
    finally:
        if ledger is not None:
            ledger.close()
    return []


def _is_full(path: str) -> bool:
    try:
        about = os.statvfs(path)
    except OSError:
        return False
    return about.f_bavail * about.f_frsize < _FULL


__all__ = ["Kept", "Pruned", "Removed", "prune"]
