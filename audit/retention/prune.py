"""Prune: remove old checkpoints, and never the ones that matter.

What stays is chosen in :mod:`audit.retention.kept`. Nothing is removed if fewer than N are proven, and never the last
proven checkpoint. If there are more than N checkpoints then, that is a refusal: a timer that keeps a disk from filling
up has to learn of it.

Removing takes three steps: a row in the ledger, a rename to ``.audit/trash/``, and, when all are there, deletion.
However this is interrupted, a checkpoint is complete in its place or where no trainer sees it; the next call empties
the trash.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
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
from audit.retention.directories import refuse_files
from audit.retention.kept import Choice, Kept, choose
from audit.retention.lock import RunLock, holder_of
from audit.retention.quarantine import unchanged
from audit.retention.trash import empty, place_for
from audit.text import listed

if TYPE_CHECKING:
    from audit.ledger.store import Ledger

_FULL = 1 << 20
"""Free bytes below which a disk counts as full: then a ledger that cannot be written does not stop the removing."""


class PruneRefused(RefusedError):
    """Nothing was removed; ``kept``: what is there, and of each whether it is proven. Nothing if it was not judged."""

    def __init__(self, message: str, kept: tuple[Kept, ...]) -> None:
        super().__init__(message)
        self.kept = kept


class Removed(NamedTuple):
    """A removed checkpoint; ``bytes`` is the size of its files, ``proven``: it could have been resumed from."""

    checkpoint: str
    bytes: int
    proven: bool


class Pruned(NamedTuple):
    """What was done, or would be in a dry run; ``cleared`` counts what an interrupted call had left in the trash."""

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

    ``keep_best`` also keeps the best by the logged metric. The run's lock is held meanwhile; a caller who holds it
    already gives it as ``lock``. Raises RefusedError, and nothing was removed: the run is being trained, there are more
    than ``keep`` checkpoints and fewer are proven, :func:`choose` refuses, or the ledger cannot be trusted or written.
    It is a PruneRefused, which says what is there, if the run was judged.
    Raises AuditError if it cannot be done.
    """
    chosen, plugins = options or Options(), registry or load()
    root = run_of(path, chosen, plugins)
    if dry_run:
        if lock is None and (holder := holder_of(root)) is not None:
            raise RefusedError(f"{path}: {holder}")
        proof = prove(path, chosen, plugins, record=False, progress=progress)
        refuse_files(proof.run, "prune")
        with _naming_kept(proof):
            choice = choose(proof.run, proof.proven, keep, keep_best)
            _refuse_unproven(proof, keep)
        return Pruned(choice.kept, _removed(choice, proof), 0, choice.notes)
    with nullcontext(lock) if lock is not None and lock.held else RunLock(root, "pruned") as held:
        cleared = empty(root)
        proof = prove(path, chosen, plugins, progress=progress)
        refuse_files(proof.run, "prune")
        with _naming_kept(proof):
            choice = choose(proof.run, proof.proven, keep, keep_best)
            _refuse_unproven(proof, keep)
            _check_ledger(proof.run)
            if choice.removed:
                _make_sure(proof, choice)
        notes = [*choice.notes, *proof.report.notes]
        if held.unprotected:
            notes.append(held.unprotected)
        if choice.removed:
            notes += _remove(root, proof.run, choice)
    return Pruned(choice.kept, _removed(choice, proof), cleared, tuple(dict.fromkeys(notes)))


def discard(
    path: str,
    checkpoint: str,
    options: Options | None = None,
    *,
    registry: Registry | None = None,
    lock: RunLock | None = None,
    elsewhere: str = "",
) -> Removed:
    """Remove one checkpoint as :func:`prune` does: a row in the ledger, the trash, deletion. The caller has its reason.

    ``elsewhere``: the repository where it was just proven to be. It is recorded, so that no rule misses a newest
    checkpoint, and the guard can say where it is.

    Raises RefusedError, and nothing was removed: the run is being trained, the checkpoint is being written, or the
    ledger cannot be trusted or written. Raises AuditError if it is not there or cannot be removed.
    """
    chosen, plugins = options or Options(), registry or load()
    root = run_of(path, chosen, plugins)
    with nullcontext(lock) if lock is not None and lock.held else RunLock(root, "pruned"):
        empty(root)
        proof = prove(path, chosen, plugins)
        refuse_files(proof.run, "prune")
        _check_ledger(proof.run)
        found = next((item for item in proof.run.checkpoints if item.name == checkpoint), None)
        if found is None:
            raise AuditError(
                f"{os.path.join(root, checkpoint)}: no such checkpoint; there: {listed([item.name for item in proof.run.checkpoints])}"
            )
        state = found.optional("completeness")
        if state is not None and state.state.moving:
            raise RefusedError(f"{root}: {checkpoint} is being written or deleted right now; nothing is removed")
        _remove(root, proof.run, Choice((), (found,)), elsewhere)
    return Removed(found.name, found.bytes, found in proof.proven)


@contextmanager
def _naming_kept(proof: Proof) -> Iterator[None]:
    """Say in a refusal what is there: a script that reads it must not take the run for an empty one."""
    try:
        yield
    except RefusedError as error:
        why = dict(proof.unproven())
        raise PruneRefused(
            str(error),
            tuple(
                Kept(item.name, "proven" if item in proof.proven else f"not proven: {why.get(item.name, 'not judged')}")
                for item in proof.run.checkpoints
            ),
        ) from error


def _refuse_unproven(proof: Proof, keep: int) -> None:
    """Raise RefusedError if there are more than ``keep`` checkpoints, and too few are proven to remove one."""
    there, proven = len(proof.run.checkpoints), len(proof.proven)
    if there <= keep or proven >= keep:
        return
    why = proof.nothing_proven if not proven else proof.too_few_proven(keep)
    raise RefusedError(f"{proof.run.path}: none of the {there} checkpoints is removed: {why}")


def _removed(choice: Choice, proof: Proof) -> tuple[Removed, ...]:
    return tuple(Removed(item.name, item.bytes, item in proof.proven) for item in choice.removed)


# -- removing -----------------------------------------------------------------------------------------------------


def _check_ledger(run: Run) -> None:
    """Raise RefusedError if the removal could not be recorded: it would look like a loss afterwards."""
    records = run.records
    problem = records.unusable or records.edited
    if problem is None and records.unwritable is not None and not _is_full(run.path):
        problem = records.unwritable
    if problem:
        raise RefusedError(f"{problem}; so nothing is removed")


def _make_sure(proof: Proof, choice: Choice) -> None:
    """Flush what stays to the disk before the rest is removed: a trainer does not, and the power may fail right after.

    Raises RefusedError if a checkpoint changed while it was judged: somebody trains here without the lock.
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
                f"{home}: cannot be flushed to the disk ({error.strerror}); nothing is removed"
            ) from error
    if changed := moved(proof.run):
        names = ", ".join(sorted(changed))
        raise RefusedError(f"{proof.run.path}: {names} changed while it was judged; nothing is removed, try again")


def _remove(root: str, run: Run, choice: Choice, elsewhere: str = "") -> list[str]:
    """Remove, the oldest first; return what could not be done afterwards."""
    later: list[events.Pruned] = []
    _, ledger = read_records(root, write=True)
    try:
        for checkpoint in choice.removed:
            unchanged(root, checkpoint)
            row = events.Pruned(checkpoint.name, checkpoint.step, checkpoint.bytes)
            if elsewhere:
                row = row._replace(left=_left(run, checkpoint), elsewhere=elsewhere)
            if not _note(root, ledger, row):
                later.append(row)
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


def _left(run: Run, checkpoint: Checkpoint) -> int | None:
    """The step that the run is at without its newest checkpoint; None if it is not that, or one was lost before."""
    whole = [item.step for item in run.checkpoints if item.complete]
    newest = max(whole, default=0)
    if checkpoint.step != newest or run.records.highest_here > newest:
        return None
    return max((step for step in whole if step < newest), default=0)


def _note(root: str, ledger: "Ledger | None", row: events.Pruned) -> bool:
    """Record that a checkpoint is removed; False if the disk is too full for that. Raises AuditError."""
    from audit.ledger.store import LedgerError

    if ledger is None:
        if not _is_full(root):
            raise AuditError(f"{root}: the ledger cannot be written, so {row.checkpoint} is not removed")
        return False
    try:
        ledger.append(row)
    except LedgerError as error:
        if not _is_full(root):
            raise AuditError(f"{error}; so {row.checkpoint} is not removed") from error
        return False
    return True


def _note_later(root: str, later: Sequence[events.Pruned]) -> list[str]:
    """Record what could not be recorded while the disk was full."""
    if not later:
        return []
    _, ledger = read_records(root, write=True)
    try:
        if ledger is None or not all(_note(root, ledger, item) for item in later):
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
