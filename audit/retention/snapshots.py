"""Snapshots: the newest proven checkpoint, copied to a dated directory that no trainer touches.

``DEST/2026-11-21/checkpoint-300`` is in a run of its own, with the seal in its own ledger, so ``audit verify`` shows at
any time whether it is still what was proven. Nothing in DEST is replaced or deleted, except what an interrupted call
left: a directory ``checkpoint-300.tmp``.

By default no hard links are made: Trainer writes into the old files when it saves a step again, and a file that is
shared with the run would change with it.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from audit.backend.names import is_checkpoint
from audit.errors import AuditError, RefusedError
from audit.facts.checkpoint import Checkpoint
from audit.facts.run import Run
from audit.judging.auditor import Auditor
from audit.judging.proving import newest_proven, place_of, prove, proving, run_of, seal_now
from audit.judging.resume import provable
from audit.ledger.batch_events import BatchEvent
from audit.ledger.events import Accepted, BaseSealed, SealTaken, SnapshotTaken
from audit.ledger.records import Records, accepted_in, read_records
from audit.ledger.seals import Seal
from audit.ledger.timeline_rows import batch_rows_until
from audit.manager import Registry, load
from audit.options import Options
from audit.retention.copying import WAYS, copy_tree, sync
from audit.retention.directories import refuse_files, refuse_place
from audit.storage import DIRECTORY
from audit.text import local_date

if TYPE_CHECKING:
    from audit.ledger.store import Ledger

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SCRATCH = ".tmp"


class Snapshot(NamedTuple):
    """A proven copy: ``path`` of its directory, ``checkpoint`` its name, ``how`` it was made: link, reflink or copy.

    ``made`` is False, and ``how`` empty, if the same copy existed already. ``notes`` say what could not be recorded.
    """

    path: str
    checkpoint: str
    step: int
    bytes: int
    how: str
    made: bool
    notes: tuple[str, ...] = ()


def snapshot(
    run: str,
    dest: str,
    options: Options | None = None,
    *,
    how: str = "auto",
    registry: Registry | None = None,
    today: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Snapshot:
    """Copy the newest proven checkpoint of ``run`` to ``dest/YYYY-MM-DD/`` and verify the copy.

    ``today`` is that date, by default the local one. A second call finds the same copy and verifies it again; a newer
    checkpoint of the same day is put beside it. Raises RefusedError if nothing is proven, another checkpoint of that
    name exists, or rotation deletes in ``dest``; AuditError if it cannot be done (full disk).
    """
    chosen, plugins = options or Options(), registry or load()
    day = today or local_date()
    if how not in WAYS:
        raise AuditError(f"--how {how}: is not one of {', '.join(WAYS)}")
    if not _DAY.fullmatch(day):
        raise AuditError(f"{day}: is not a date like 2026-11-21")
    root = run_of(run, chosen, plugins)
    refuse_place(root, dest)
    proof = prove(run, chosen, plugins, progress=progress)
    refuse_files(proof.run, "snapshot")
    checkpoint = newest_proven(proof, chosen, plugins)
    seal = seal_now(checkpoint)
    home = os.path.join(dest, day)
    with _alone(dest, home):
        _clear(dest)
        target = os.path.join(home, checkpoint.name)
        taken = ""
        made = not os.path.lexists(target)
        if made:
            taken = _take(checkpoint, seal, home, how, chosen, plugins)
        elif problem := _difference(target, seal, chosen, plugins):
            raise RefusedError(
                f"{target}: already exists and is not what is proven now ({problem}); nothing is overwritten: "
                "move it away, or give each run a DEST of its own"
            )
        notes = _record(root, home, seal, taken)
    total = sum(file.size for file in seal.files.values())
    notes = (*proof.passed_over(checkpoint), *proof.report.notes, *notes)
    return Snapshot(target, checkpoint.name, checkpoint.step, total, taken, made, notes)


@contextmanager
def _alone(dest: str, home: str) -> Iterator[None]:
    """Make the directories and make other snapshots to the same place wait; no empty directory is left."""
    from fcntl import LOCK_EX, flock

    new = not os.path.lexists(dest)
    try:
        os.makedirs(home, exist_ok=True)
        descriptor = os.open(dest, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise AuditError(f"{home}: cannot be made: {error.strerror or error}") from error
    try:
        with suppress(OSError):  # a file system without locks: two at once are rare, and a rename has one winner
            flock(descriptor, LOCK_EX)
        os.makedirs(home, exist_ok=True)
        yield
    finally:
        with suppress(OSError):  # not empty, as it should be
            os.rmdir(home)
            if new:
                os.rmdir(dest)
        os.close(descriptor)


def _clear(dest: str) -> None:
    """Delete what interrupted calls left, of any day. Raises AuditError."""
    try:
        days = [name for name in os.listdir(dest) if _DAY.fullmatch(name)]
        for day in days:
            home = os.path.join(dest, day)
            if os.path.islink(home) or not os.path.isdir(home):
                continue
            for name in os.listdir(home):
                if name.endswith(_SCRATCH) and is_checkpoint(name.removesuffix(_SCRATCH)):
                    shutil.rmtree(os.path.join(home, name))
    except (OSError, shutil.Error) as error:
        raise AuditError(f"{dest}: the remains of an interrupted snapshot cannot be deleted: {error}") from error


def _take(checkpoint: Checkpoint, seal: Seal, home: str, how: str, options: Options, plugins: Registry) -> str:
    """Copy under a temporary name, judge the copy, then rename it; return how it was copied."""
    scratch = os.path.join(home, checkpoint.name + _SCRATCH)
    copy, target = os.path.join(scratch, checkpoint.name), os.path.join(home, checkpoint.name)
    directories = [path for path, entry in checkpoint.entries.items() if entry.kind == DIRECTORY]
    try:
        os.mkdir(scratch)
        taken = copy_tree(place_of(checkpoint), copy, list(seal.files), directories, how)
        problem = _difference(copy, seal, options, plugins) or _unproven(copy, checkpoint, options, plugins)
        if problem:
            raise AuditError(f"{target}: the copy is not what was proven ({problem}); it was deleted, try again")
        info = os.lstat(copy)
        os.rename(copy, target)
        os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))
        os.rmdir(scratch)
        sync(home)
    except OSError as error:
        raise AuditError(f"{target}: cannot be made: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return taken


def _difference(path: str, seal: Seal, options: Options, plugins: Registry) -> str | None:
    """Read a copy and return how it differs from the seal, None if it does not."""
    if os.path.islink(path) or not os.path.isdir(path):
        return "it is not a directory"
    _, copy = _opened(path, options, plugins)
    there = {name for name, entry in copy.entries.items() if entry.kind != DIRECTORY}
    for name in sorted(there ^ seal.files.keys()):
        return f"{name} is {'missing' if name in seal.files else 'one file too many'}"
    scan = copy.optional("scan") or {}
    for name, sealed in seal.files.items():
        if copy.entries[name].size != sealed.size or (name in scan and scan[name].digest != sealed.digest):
            return f"{name} is different"
        if name not in scan or scan[name].error:
            return f"{name} cannot be read"
    return None


def _unproven(path: str, original: Checkpoint, options: Options, plugins: Registry) -> str | None:
    """Judge a copy as a run of its own by all rules, and return why it is not proven, None if it is."""
    run, copy = _opened(path, options, plugins, Records(accepted=original.run.records.accepted))
    report = Auditor(proving(options), plugins).report(run)
    if provable([copy], report):
        return None
    wrong = [item for item in report.findings if item.checkpoint in (copy.name, None) and item.blocks_resume]
    return f"{wrong[0].message} ({wrong[0].rule})" if wrong else "it is not sound by itself"


def _opened(path: str, options: Options, plugins: Registry, known: Records | None = None) -> tuple[Run, Checkpoint]:
    run = Auditor(proving(options), plugins).open(path, known)
    name = os.path.basename(path)
    found = next((item for item in run.checkpoints if item.name == name), None)
    if found is None:
        raise AuditError(f"{path}: was deleted meanwhile; try again")
    return run, found


def _record(run: str, home: str, seal: Seal, how: str) -> tuple[str, ...]:
    """Write the seal into the snapshot's own ledger, once; return what could not be written."""
    from audit.ledger.store import LedgerError

    if not how:
        known, _ = read_records(home, write=False)
        if known.snapshot and seal.checkpoint in known.seals:
            return ()
    records, ledger = read_records(home, write=True)
    if ledger is None:
        return (f"not recorded: {records.unusable or records.edited or records.unwritable}",)
    try:
        if how or not records.snapshot:
            ledger.append(SnapshotTaken(seal.checkpoint, os.path.abspath(run), how))
        if how or seal.checkpoint not in records.seals:
            _copy_batches(run, ledger, seal.step)
            # Last: it was sealed after all that, and a call that is killed before this copies what is missing.
            ledger.append(SealTaken(seal.checkpoint, seal.step, seal.newest, seal.files))
    except LedgerError as error:
        return (f"not recorded: {error}",)
    finally:
        ledger.close()
    return ()


def _copy_batches(run: str, ledger: "Ledger", step: int) -> None:
    """Copy what the run's ledger records of its batches up to ``step``, of its base, and what was accepted.

    A copy that is put in the place of the run then knows which examples were trained, and another base is refused.
    Raises LedgerError.
    """
    from audit.ledger.store import open_ledger

    source = open_ledger(run, False)
    if source is None:
        return
    try:
        rows = source.rows()
    finally:
        source.close()
    wanted = list(batch_rows_until(rows, step))
    copied = [row.event for row in ledger.rows()]
    there = [event for event in copied if isinstance(event, BatchEvent)]
    known = [event for event in copied if isinstance(event, Accepted)]
    if [event for event, _ in wanted[: len(there)]] == there:  # those of an older checkpoint of the same day
        wanted = wanted[len(there) :]
    for event, time in wanted:
        ledger.append(event, time=time)
    base = next((row for row in reversed(rows) if isinstance(row.event, BaseSealed)), None)
    if base is not None and base.event not in copied:
        ledger.append(base.event, time=base.time)
    holding = accepted_in(rows)  # after the batches: a leg that begins later ends what was accepted before it
    for row in rows:
        if isinstance(row.event, Accepted) and row.event in holding and row.event not in known:
            ledger.append(row.event, time=row.time)


__all__ = ["Snapshot", "snapshot"]
