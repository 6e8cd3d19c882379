"""Pins: the newest proven checkpoint, kept as hard links where rotation does not reach it.

Trainer's rotation deletes the oldest directories without checking the newer ones, so a run that saves NaN rotates its
last good state away. A pin takes no extra space as long as the original is there.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from audit.audit_dir import AUDIT_DIR, LEDGER, OUTBOX, PINNED, aside, link_in_the_way, pinned_names, refuse_links
from audit.audit_dir import scratch as scratch_directory
from audit.backend.names import step_of
from audit.errors import AuditError
from audit.facts.listing import list_checkpoint
from audit.storage import Entry, LocalStorage


def pin(run: str, checkpoint: str) -> str:
    """Pin ``checkpoint`` (a name) and remove every other pin; return the path of the pinned copy.

    Hard links change the ctime of the files and nothing else. Raises AuditError if the file system has no hard links,
    or the checkpoint disappears meanwhile; an older pin then stays.
    """
    import shutil  # only where a pin is made: every verification imports this module

    home = os.path.join(run, PINNED)
    target = os.path.join(home, checkpoint)
    source = os.path.join(run, checkpoint)
    scratch = aside(target)
    refuse_links(run, PINNED, "nothing is pinned there")
    try:
        os.makedirs(home, exist_ok=True)
        with known_links(run, {checkpoint, *pinned_names(run)}):
            if not shares_files(source, target):
                link_all(source, scratch)
                if os.path.isdir(target):
                    shutil.rmtree(target)
                os.rename(scratch, target)
            for name in os.listdir(home):
                if name != checkpoint:
                    shutil.rmtree(os.path.join(home, name), ignore_errors=True)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise AuditError(f"{target}: cannot be pinned: {error}") from error
    return target


@contextmanager
def known_links(run: str, checkpoints: Iterable[str]) -> Iterator[None]:
    """Make or delete hard links to files of these checkpoints in the body: what was read of them stays valid.

    A link changes the ctime of a file, by which a change of its bytes would be known. It is a matter of speed only:
    what cannot be written into the ledger is read again.
    """
    from audit.ledger.scans import linked
    from audit.ledger.store import LedgerError, open_ledger

    before = {name: _entries(run, name) for name in checkpoints}
    yield
    try:
        ledger = open_ledger(run, write=True) if os.path.lexists(os.path.join(run, LEDGER)) else None
    except LedgerError:
        return
    if ledger is None:
        return
    try:
        for name, old in before.items():
            new = _entries(run, name)
            ledger.restamp(
                name,
                lambda file, stamp, old=old, new=new: (  # type: ignore[misc]
                    linked(stamp, old[file], new[file]) if file in old and file in new else stamp
                ),
            )
    except LedgerError:
        return
    finally:
        ledger.close()


def _entries(run: str, checkpoint: str) -> Mapping[str, Entry]:
    """The entries of a checkpoint by path relative to it; nothing if it is not there."""
    found = list_checkpoint(LocalStorage(run), checkpoint)
    return found.entries if found is not None else {}


def keep_apart(run: str, step: int) -> None:
    """Detach every pin beyond ``step``: a training that goes on from there saves those steps again.

    Likewise what is in the outbox. Raises AuditError.
    """
    for name in pinned_names(run):
        found = step_of(name)
        if found is not None and found > step:
            detach(run, name)
    for place in _outgoing(run):
        found = step_of(os.path.basename(place))
        if found is not None and found > step:
            _detach(os.path.join(run, os.path.basename(place)), place)


def _outgoing(run: str) -> list[str]:
    """The checkpoints in the outbox. Raises AuditError."""
    home = os.path.join(run, OUTBOX)
    if not os.path.isdir(home) or link_in_the_way(run, OUTBOX) is not None:
        return []
    try:
        pushes = [os.path.join(home, name) for name in sorted(os.listdir(home))]
        return [os.path.join(push, name) for push in pushes if os.path.isdir(push) for name in os.listdir(push)]
    except OSError as error:
        raise AuditError(f"{home}: cannot be listed: {error.strerror or error}") from error


def put_back(run: str, checkpoint: str) -> str:
    """Link a pinned checkpoint back into its run, where a trainer and its rotation find it; return its path there.

    Raises AuditError if a checkpoint of that name exists, or if it cannot be made.
    """
    import shutil

    target = os.path.join(run, checkpoint)
    scratch = aside(os.path.join(run, AUDIT_DIR, checkpoint))
    if os.path.lexists(target):
        raise AuditError(f"{target}: already exists, so the pinned one is not put back")
    try:
        link_all(os.path.join(run, PINNED, checkpoint), scratch)
        os.utime(scratch)  # rotation goes by the time of the directory, and this is the newest one now
        os.rename(scratch, target)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise AuditError(f"{target}: cannot be put back: {error}") from error
    return target


@contextmanager
def linked(run: str, path: str, name: str) -> Iterator[str]:
    """Give the directory ``path`` another ``name`` while the body runs, by hard links to its files.

    Raises AuditError if the file system has no hard links.
    """
    with scratch_directory(run, f"links-{os.getpid()}") as home:
        target = os.path.join(home, name)
        try:
            link_all(path, target)
        except OSError as error:
            raise AuditError(f"{path}: cannot be linked: {error}") from error
        yield target


def detach(run: str, checkpoint: str) -> None:
    """Give a pin bytes of its own if it shares them with the run's checkpoint. Raises AuditError.

    Needed before a trainer saves that step again: it opens the old files and writes into them, so the pin would change
    with them, and be damaged if that save is interrupted.
    """
    _detach(os.path.join(run, checkpoint), os.path.join(run, PINNED, checkpoint))


def _detach(source: str, target: str) -> None:
    import shutil

    scratch = aside(target)
    if os.path.islink(target):  # none of ours, and it may lead anywhere
        return
    shared = {inode for _, inode in _inodes(source)}
    if not any(inode in shared for _, inode in _inodes(target)):
        return
    try:
        shutil.copytree(target, scratch, symlinks=True)
        old = f"{scratch}.old"
        os.rename(target, old)
        os.rename(scratch, target)
        shutil.rmtree(old)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise AuditError(f"{target}: cannot be copied: {error}") from error


def link_all(source: str, target: str) -> None:
    """Make a directory of hard links to the files of another; links in it stay links. Raises OSError."""
    import shutil

    try:
        shutil.copytree(source, target, copy_function=_link, symlinks=True)
    except shutil.Error as error:  # a list of (source, target, reason)
        raise OSError(str(error.args[0][0][2])) from error


def _link(source: str, target: str) -> str:
    os.link(source, target, follow_symlinks=False)
    return target


def shares_files(source: str, target: str) -> bool:
    """Whether two directories, such as a checkpoint and its pin, are of exactly the same files."""
    return os.path.isdir(target) and sorted(_inodes(source)) == sorted(_inodes(target))


def _inodes(home: str) -> Iterator[tuple[str, int]]:
    for folder, _, names in os.walk(home):
        for name in names:
            path = os.path.join(folder, name)
            yield os.path.relpath(path, home), os.lstat(path).st_ino
