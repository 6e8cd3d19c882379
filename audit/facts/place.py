"""Where a run is, and where what the audit remembers of it is kept: beside it on a disk, else in a state directory."""

import os
import re
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from audit.audit_dir import AUDIT_DIR
from audit.backend.names import is_checkpoint, is_checkpoint_file, is_checkpoint_of_any, is_rotated, is_trace
from audit.errors import AuditError
from audit.facts.listing import STATES, locate, no_such_checkpoint
from audit.facts.other_trainers import other_trainer
from audit.ledger.records import Records, read_records
from audit.storage import FILE, LocalStorage, Storage, scheme_of, without_secrets

if TYPE_CHECKING:
    from audit.ledger.store import Ledger


class MissingError(AuditError):
    """There is nothing under a URL: no such run, or nothing was trained yet."""


class Place(NamedTuple):
    """A run: ``root`` is its directory or URL, ``only`` the checkpoints to judge (none: all).

    ``home`` is the directory on this machine with its ``.audit``. ``named`` is what the user gave, for messages.
    """

    root: str
    only: tuple[str, ...]
    storage: Storage
    home: str
    named: str

    def records(self, write: bool) -> "tuple[Records, Ledger | None]":
        """Return what its ledger records, and the ledger, open, if it can be written and something may be recorded."""
        if self.storage.root is not None:
            return read_records(self.home, write and anything_to_record(self.home))
        if write:
            try:
                os.makedirs(self.home, mode=0o700, exist_ok=True)
            except OSError as error:
                return Records(unwritable=f"{self.home}: cannot be made: {error.strerror or error}"), None
        return read_records(self.home, write)


_STATES = (".safetensors", ".bin", ".pt", ".pkl", ".metadata")
"""Endings of files with states: people call other directories ``epoch_1`` as well."""


def anything_to_record(root: str) -> bool:
    """Whether a verification may leave a record: a directory without checkpoints that are read stays as it is."""
    try:
        names = os.listdir(root)
    except OSError:
        return False
    if AUDIT_DIR in names or any(map(is_rotated, names)) or any(map(is_checkpoint_file, names)):
        return True
    likely = (os.path.join(root, name) for name in names if is_trace(name))
    return any(_has_states(path) and not _is_of_others(path) for path in likely)


def _has_states(path: str) -> bool:
    return any(file.endswith(_STATES) for _, _, files in islice(os.walk(path), 4) for file in files)


def _is_of_others(path: str) -> bool:
    """Whether a directory is a checkpoint of a trainer that no backend reads; ``global_step_10`` may be verl's."""
    storage = LocalStorage(path)
    try:
        return other_trainer(path, {entry.name: entry for entry in storage.list("")}, storage) is not None
    except OSError:
        return False


def place_here(path: str, ledger: str | None = None) -> Place:
    """Return where a run of this machine is. Raises AuditError: no such run, a URL, or a ``ledger`` beside another."""
    root, only = locate(path)
    if ledger is not None:
        raise AuditError(f"{path}: its ledger is in it, in .audit; --ledger is for runs behind a URL")
    return Place(root, only, LocalStorage(root), root, path)


def place_behind(url: str, opened: Callable[[str], Storage], ledger: str | None = None) -> Place:
    """Return where the run behind a URL is; ``ledger`` is the directory for ledgers, None that of the user.

    Raises AuditError: no such run, one that cannot be read, a URL with a secret in it.
    """
    url = _checked(url)
    above, _, name = url.rpartition("/")
    root = url
    only: tuple[str, ...] = ()
    storage: Storage | None = None
    if not above.endswith("/") and is_checkpoint_of_any(name):
        if is_checkpoint(name):
            root, only = above, (name,)
        else:
            storage = opened(url)
            if _is_checkpoint(storage, name):
                root, only, storage = above, (name,), None
    storage = storage or opened(root)
    names = {entry.name for entry in storage.list("")}
    if only and only[0] not in names:
        raise no_such_checkpoint(url, names)
    if not names:
        raise MissingError(f"{url}: no such run: nothing is stored there; give the URL that holds checkpoint-N")
    return Place(root, only, storage, os.path.join(_ledgers(ledger), _key(storage.identity)), url)


def _is_checkpoint(storage: Storage, name: str) -> bool:
    """Whether what is called ``epoch_1`` is a checkpoint: a file, or states and no checkpoint among what is in it."""
    inside = storage.list("")
    if not inside:
        return is_checkpoint_file(name)
    if any(is_checkpoint_of_any(entry.name) for entry in inside):
        return False
    return any(entry.kind == FILE and entry.name.endswith(STATES) for entry in inside)


def _checked(url: str) -> str:
    """Return a URL without slashes at its end. Raises AuditError for one that is no plain address of a run."""
    scheme = scheme_of(url)
    rest = url.partition("://")[2].rstrip("/")
    authority = rest.partition("/")[0]
    shown = without_secrets(url)
    if "?" in rest or ":" in authority.rpartition("@")[0]:
        raise AuditError(
            f"{shown}: a URL with a query or a password is not taken, since it would be in reports and in the list of "
            "processes; give credentials by the environment (docs/remote.md)"
        )
    if not rest or not {"", ".", ".."}.isdisjoint(rest.split("/")) or not rest.isprintable():
        raise AuditError(f"{shown}: is not the address of a run; give {scheme}://BUCKET/PATH, without empty parts")
    return f"{scheme}://{rest}"


def _ledgers(given: str | None) -> str:
    """The directory with the ledgers of runs behind a URL (XDG Base Directory Specification, ``XDG_STATE_HOME``)."""
    if given is not None:
        return given
    state = os.environ.get("XDG_STATE_HOME", "")
    return os.path.join(
        state if os.path.isabs(state) else os.path.expanduser("~/.local/state"), "checkpoint-audit", "runs"
    )


def _key(identity: str) -> str:
    """The name of a run's directory among others: something to read, and a digest that is its own."""
    from blake3 import blake3

    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", identity.rstrip("/").rpartition("/")[2]).strip("-.")[:40]
    return f"{readable or 'run'}-{blake3(identity.encode('utf-8', 'surrogatepass')).hexdigest(16)}"
