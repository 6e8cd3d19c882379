"""Bring a checkpoint from behind a URL to this disk: scratch directory, every byte compared, then a rename."""

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from socket import gethostname
from urllib.parse import quote

from audit.errors import AuditError
from audit.facts.checkpoint import Checkpoint
from audit.facts.file import File
from audit.judging.auditor import Auditor, Progress
from audit.manager import Registry
from audit.options import Options
from audit.retention.copying import sync
from audit.retention.lock import alive
from audit.storage import DIRECTORY, FILE, PIECE, pieces
from audit.text import human_bytes


def fetch(
    url: str, name: str, destination: str, options: Options, registry: Registry, progress: Progress | None = None
) -> str:
    """Copy checkpoint ``name`` of the run behind ``url`` to ``<destination>/<name>`` and return that path.

    It appears there whole or not at all. What arrives on the disk must have the digests of what was judged; bytes that
    the ledger does not know of are read once more for them. Raises AuditError: another checkpoint has the place, no
    room, a file that changed meanwhile.
    """
    auditor = Auditor(options._replace(depth="full"), registry)
    place = registry.place(url, options.ledger_dir)
    run = auditor.open(place, place.records(write=False)[0], progress)
    checkpoint = next((item for item in run.checkpoints if item.name == name), None)
    if checkpoint is None:
        raise AuditError(f"{place.root}: {name} is gone since it was judged; start again")
    target = os.path.join(destination, name)
    digests = _digests(checkpoint)
    if os.path.lexists(target):
        if _same(target, digests):
            return target
        raise AuditError(
            f"{target}: is there and is not {name} of {place.root}; move it away, or give another directory"
        )
    # With the name of this machine: on a shared disk nobody knows which processes of another one live.
    beginning = f".fetch-{name}.{quote(gethostname(), safe='')}."
    scratch = os.path.join(destination, f"{beginning}{os.getpid()}")
    try:
        os.makedirs(destination, exist_ok=True)
        _clear(destination, beginning)
        _room(destination, checkpoint)
        os.mkdir(scratch)
        for path, file in checkpoint.files.items():
            _copy(file, os.path.join(scratch, path))
            if _digest(os.path.join(scratch, path)) != digests[path]:
                raise AuditError(f"{place.root}/{name}/{path}: arrived with other bytes than were judged; start again")
        _at_one_time(scratch)
        try:
            os.rename(scratch, target)
        except OSError:
            if not _same(target, digests):  # another process may have fetched it meanwhile
                raise
        _sync(destination)
    except OSError as error:
        raise AuditError(
            f"{error.filename or destination}: {name} cannot be fetched: {error.strerror or error}"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _digests(checkpoint: Checkpoint) -> Mapping[str, str]:
    """The digest of every file as it was judged. Raises AuditError if one has none."""
    found = checkpoint.run.digests_of(checkpoint) if checkpoint.complete else {}
    for path, entry in checkpoint.entries.items():
        if entry.kind != DIRECTORY and (entry.kind != FILE or path not in found):
            raise AuditError(
                f"{checkpoint.run.path}/{checkpoint.name}/{path}: could not be read, so nothing is fetched"
            )
    return found


def _copy(file: File, path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with file.open() as source, open(path, "xb") as made:
        made.writelines(pieces(source, file.entry.size, file.path))
        made.flush()
        os.fsync(made.fileno())


def _digest(path: str) -> str:
    from blake3 import blake3

    found = blake3()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            found.update(piece)
    return found.hexdigest()


def _same(target: str, digests: Mapping[str, str]) -> bool:
    """Whether a directory holds these files and no others."""
    if os.path.islink(target) or not os.path.isdir(target):
        return False
    there = {os.path.relpath(os.path.join(home, name), target) for home, _, names in os.walk(target) for name in names}
    paths = {path: os.path.join(target, path) for path in digests}
    if there != paths.keys() or any(os.path.islink(path) or not os.path.isfile(path) for path in paths.values()):
        return False
    return all(_digest(path) == digests[name] for name, path in paths.items())


def _room(destination: str, checkpoint: Checkpoint) -> None:
    free, needed = shutil.disk_usage(destination).free, checkpoint.bytes
    if free < needed:
        raise AuditError(f"{destination}: {checkpoint.name} needs {human_bytes(needed)}, {human_bytes(free)} are free")


def _clear(destination: str, beginning: str) -> None:
    """Delete what a call that was killed left behind; that of one that is running stays."""
    for name in os.listdir(destination):
        process = name.removeprefix(beginning)
        if not name.startswith(beginning) or not (process.isascii() and process.isdigit()):
            continue
        if not alive(int(process)):
            shutil.rmtree(os.path.join(destination, name), ignore_errors=True)


def _at_one_time(scratch: str) -> None:
    """Give all files one time: that a large file arrived after the trainer state says nothing of the training."""
    now = time.time_ns()
    for home, _, names in os.walk(scratch, topdown=False):
        for name in names:
            os.utime(os.path.join(home, name), ns=(now, now))
        os.utime(home, ns=(now, now))
        _sync(home)


def _sync(directory: str) -> None:
    with suppress(OSError):  # not every file system can
        sync(directory)
