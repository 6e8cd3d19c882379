"""Quarantine: move broken checkpoints aside, so that a trainer's own search for the newest one finds a good one.

A checkpoint is renamed inside its run, to ``.audit/quarantine/``: nothing is copied, no byte and no time stamp changes,
and it can be moved back. The ledger gets a row before every move, so that the step of the run after the move counts as
a known way back. After a kill between row and move, the run is further on than the row says, which does no harm.
"""

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from audit.audit_dir import QUARANTINE, free_name, make, refuse_links
from audit.backend.names import order, without_number
from audit.errors import AuditError
from audit.facts.checkpoint import Checkpoint
from audit.facts.completeness import CheckpointState
from audit.facts.run import Run
from audit.findings import Finding
from audit.judging.resume import against, fault
from audit.ledger.events import Quarantined
from audit.ledger.records import reached_by
from audit.storage import LINK
from audit.text import listed

if TYPE_CHECKING:
    from audit.ledger.store import Ledger


class Candidate(NamedTuple):
    """A checkpoint to move, and why it is broken; ``asked``: it is not, and is moved on request."""

    checkpoint: Checkpoint
    reason: str
    asked: bool = False


class Held(NamedTuple):
    """One entry of the quarantine: ``place`` is its name there, ``name`` the checkpoint's own.

    ``place`` has a suffix (``checkpoint-300.1``) if that name was taken. ``reason`` and ``time`` (UTC, ISO 8601) are
    from the ledger, empty if it does not have them.
    """

    place: str
    name: str
    reason: str = ""
    time: str = ""


class Choice(NamedTuple):
    """What may be moved, and what may not: reasons by name. If anything is refused, nothing should be moved."""

    candidates: tuple[Candidate, ...]
    refused: Mapping[str, str]


SOUND = "is sound; --force moves it nevertheless"
UNJUDGED = "is not judged, and nothing was found against it; --force moves it nevertheless"
LAST = "no checkpoint would be left, and a trainer would start over at step 0; --force moves it nevertheless"


def choose(run: Run, findings: Sequence[Finding], names: Sequence[str] = (), force: bool = False) -> Choice:
    """Choose what to move, the newest first: the broken ones among ``names``, or every broken one.

    A finding against the run as a whole breaks no single checkpoint. A checkpoint that is being written right now is
    never chosen. ``force`` also takes sound ones that are named, and the last one. Raises AuditError for a name that is
    not a checkpoint of the run.
    """
    known = {item.name: item for item in run.checkpoints}
    for name in names:
        if name not in known:
            raise AuditError(f"{run.path}: {_why_unknown(run, name)}")
    candidates, refused = [], {}
    found_against = against(findings)
    for checkpoint in reversed(run.checkpoints):
        if names and checkpoint.name not in names:
            continue
        found = checkpoint.optional("completeness")
        if found is not None and found.state is CheckpointState.IN_PROGRESS:
            if names:
                refused[checkpoint.name] = "is being written right now"
            continue
        reason = fault(checkpoint, found_against)
        if reason is not None:
            candidates.append(Candidate(checkpoint, reason))
        elif names and force:
            found_nothing = "is not judged" if checkpoint.unread_in_words else "is sound"
            candidates.append(Candidate(checkpoint, f"{found_nothing}; moved on request", asked=True))
        elif names:
            refused[checkpoint.name] = UNJUDGED if checkpoint.unread_in_words else SOUND
    if candidates and len(candidates) == len(run.checkpoints) and not force:
        refused[candidates[-1].checkpoint.name] = LAST
    return Choice(tuple(candidates), refused)


def _why_unknown(run: Run, name: str) -> str:
    entry = run.entries.get(name)
    if entry is not None and (entry.kind == LINK or entry.target is not None):
        return f"{name} is a link, so it is not moved"
    return f"there is no {name} in it; there: {listed([item.name for item in run.checkpoints])}"


def isolate(run: Run, candidates: Sequence[Candidate], ledger: "Ledger | None") -> Generator[Held, None, None]:
    """Move candidates one after the other, and yield where each one is now.

    One that is gone meanwhile (another process moved it, rotation deleted it) is passed over. Raises AuditError if one
    cannot be moved or has changed since it was judged; what was moved before stays moved.
    """
    home = _home(run.path)
    left = list(run.checkpoints)
    highest = max((item.step for item in left), default=0)
    for checkpoint, reason, _ in candidates:
        with _alone(home):
            if not os.path.lexists(os.path.join(run.path, checkpoint.name)):
                left.remove(checkpoint)
                continue
            unchanged(run.path, checkpoint)
            place = free_name(home, checkpoint.name)
            before = _step_of(left)
            left.remove(checkpoint)
            # A checkpoint that vanished before must not be forgotten because another one is moved now.
            lost = ledger is not None and _reached(ledger) > highest
            step = None if lost else _step_of(left)
            _note(ledger, "moved", step, checkpoint.name, place, reason)
            try:
                _rename(os.path.join(run.path, checkpoint.name), os.path.join(home, place))
            except FileNotFoundError:
                continue
            except OSError as error:
                _note(ledger, "failed", None if lost else before, checkpoint.name, place, str(error.strerror))
                raise AuditError(_cannot(os.path.join(run.path, checkpoint.name), error)) from error
        yield Held(place, checkpoint.name, reason)


def replacing(run: str) -> str:
    """Say what to do with broken checkpoints where no other is left, after "move" or "move the"."""
    back = "bring a sound one back, with cp -a from a snapshot or with audit hub pull"
    return f"broken ones away (audit quarantine {run} --force) and {back}"


def held(run: str, ledger: "Ledger | None" = None) -> tuple[Held, ...]:
    """Return what is in a run's quarantine, by step; with an open ledger, also why and since when.

    Raises AuditError if it is a link or cannot be listed.
    """
    home = os.path.join(run, QUARANTINE)
    refuse_links(run, QUARANTINE, "it is not listed")
    try:
        names = os.listdir(home)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise AuditError(f"{home}: cannot be listed: {error.strerror or error}") from error
    reasons = _reasons(ledger)
    found = []
    for place in names:
        name = without_number(place)
        path = os.path.join(home, place)
        if name is not None and os.path.isdir(path) and not os.path.islink(path):
            found.append(Held(place, name, *reasons.get(place, ("", ""))))
    return tuple(sorted(found, key=lambda item: (order(item.name), len(item.place), item.place)))


def wanted(run: str, names: Sequence[str]) -> tuple[Held, ...]:
    """Return the entries to restore: those whose place is named, or all. Raises AuditError for an unknown name."""
    there = held(run)
    by_place = {item.place: item for item in there}
    for name in names:
        if name not in by_place:
            raise AuditError(f"{run}: there is no {name} in its quarantine; see audit quarantine {run} --list")
    return tuple(by_place[name] for name in dict.fromkeys(names)) if names else there


def obstacles(run: str, items: Sequence[Held]) -> Mapping[str, str]:
    """Return why some of the entries cannot be moved back, by place: nothing is overwritten."""
    found = {}
    for item in items:
        rivals = [other.place for other in items if other.name == item.name]
        if os.path.lexists(os.path.join(run, item.name)):
            found[item.place] = f"{item.name} already exists"
        elif len(rivals) > 1:
            found[item.place] = f"{' and '.join(rivals)} are both {item.name}: name one"
    return found


def restore(run: str, items: Sequence[Held], ledger: "Ledger | None", step: int) -> Generator[Held, None, None]:
    """Move entries back into the run, and yield each; ``step`` is that of the newest complete checkpoint in the run.

    Raises AuditError if one cannot be moved, or a checkpoint of that name appeared meanwhile.
    """
    home = _home(run)
    for item in items:
        with _alone(home):
            source, target = os.path.join(home, item.place), os.path.join(run, item.name)
            if not os.path.lexists(source):
                continue  # another process was faster
            if os.path.lexists(target):
                raise AuditError(f"{target}: already exists, so {item.place} stays in quarantine")
            reached = _reached(ledger) if ledger is not None else 0
            # The next verification judges it; until then the run is at least where it was.
            _note(ledger, "restored", max(step, reached), item.name, item.place, "")
            try:
                _rename(source, target)
            except OSError as error:
                raise AuditError(_cannot(source, error)) from error
        yield item


def _rename(source: str, target: str) -> None:
    """Move a directory and give it its times back, should the file system have touched them."""
    info = os.lstat(source)
    os.rename(source, target)
    if os.lstat(target).st_mtime_ns != info.st_mtime_ns:
        os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))


def unchanged(run: str, checkpoint: Checkpoint) -> None:
    """Raise AuditError if a checkpoint is not what was judged: a trainer may have saved the step again meanwhile."""
    root = os.path.join(run, checkpoint.name)
    if os.path.islink(root):
        raise AuditError(f"{root}: is a link, so it is not moved")
    changed = os.lstat(root).st_mtime_ns != checkpoint.run.entry_of(checkpoint.name).mtime_ns
    for path, entry in checkpoint.entries.items():
        if changed or entry.target is not None:
            continue
        try:
            info = os.lstat(os.path.join(root, path))
        except OSError:
            changed = True
            continue
        changed = (info.st_ino, info.st_mtime_ns) != (entry.inode, entry.mtime_ns)
    if changed:
        raise AuditError(f"{root}: was changed while it was judged, so it is not moved; try again")


def _home(run: str) -> str:
    """Make the quarantine's directory. Raises AuditError: a link in its place, a read-only run."""
    return make(run, QUARANTINE, "nothing is moved there")


@contextmanager
def _alone(home: str) -> Iterator[None]:
    """Make other processes wait that use the same quarantine."""
    from fcntl import LOCK_EX, flock

    try:
        descriptor = os.open(home, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise AuditError(_cannot(home, error)) from error
    try:
        with suppress(OSError):  # a file system without locks: two at once are rare, and a rename has one winner
            flock(descriptor, LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _cannot(path: str, error: OSError) -> str:
    return f"{path}: cannot be moved or made: {error.strerror or error}"


# -- the ledger ---------------------------------------------------------------------------------------------------


def _step_of(checkpoints: Sequence[Checkpoint]) -> int | None:
    """The step that the run is at; None, which leaves the known one, if no complete checkpoint is left."""
    return max((item.step for item in checkpoints if item.complete), default=None)


def _reached(ledger: "Ledger") -> int:
    from audit.ledger.store import LedgerError

    try:
        return reached_by(ledger.rows(), here=True)
    except LedgerError:
        return 0


def _note(ledger: "Ledger | None", action: str, step: int | None, name: str, place: str, reason: str) -> None:
    if ledger is None:
        return
    from audit.ledger.store import LedgerError

    try:
        ledger.append(Quarantined(action, name, f"{QUARANTINE}/{place}", reason, step))
    except LedgerError as error:
        raise AuditError(f"{error}; so {name} is not moved") from error


def _reasons(ledger: "Ledger | None") -> dict[str, tuple[str, str]]:
    """Reason and time of the last move to each place."""
    if ledger is None:
        return {}
    from audit.ledger.store import LedgerError

    try:
        rows = ledger.rows()
    except LedgerError:
        return {}
    found = {}
    for row in rows:
        event = row.event
        if isinstance(event, Quarantined) and event.action == "moved":
            found[event.place.rpartition("/")[2]] = (event.reason, row.time)
    return found
