"""What is in a run, as one value: the entries of its root and of every checkpoint, listed once."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from sys import intern
from typing import TYPE_CHECKING, NamedTuple

from audit.backend.names import is_checkpoint, is_checkpoint_file, is_checkpoint_of_any, order
from audit.backend.protocol import ITSELF, has_step_inside, parts, units, values_in
from audit.errors import AuditError
from audit.storage import DIRECTORY, FILE, Entry, Storage, scheme_of, without_secrets
from audit.text import listed

if TYPE_CHECKING:
    from audit.backend.protocol import Backend

STATES = (".safetensors", ".bin", ".pt", ".pkl", ".distcp")
"""Endings of files that hold states."""

MAX_DEPTH = 4
"""Directory levels below a checkpoint that are listed; DeepSpeed and adapters need two."""

MAX_ENTRIES = 100_000
"""Entries of one checkpoint; the largest real ones (FSDP over many hosts) hold a few thousand."""

MOST_ASKED = 8
"""Checkpoints that are listed to tell which of several backends wrote a run; the newest may be an interrupted save."""


class Inside(NamedTuple):
    """What is in one checkpoint: its ``entries`` by path relative to it, directories included; ITSELF of a file.

    ``unlistable`` are directories that the operating system does not let us list, relative to the run. ``overfull``:
    it has more entries or levels than any real checkpoint; the rest was not looked at.
    """

    entries: Mapping[str, Entry]
    unlistable: frozenset[str]
    overfull: bool


class Listing(NamedTuple):
    """One listing of a run.

    ``entries`` are those of its root by name, ``homes`` the step of each checkpoint by name, which orders them: that of
    the name, or read from a file whose name does not tell it (0 if that cannot be read). ``inside``
    holds what is in each checkpoint; one that was deleted between the two is in ``homes`` only. ``unlistable`` and
    ``overfull`` are as in :class:`Inside`, the latter with the names of the checkpoints.
    """

    entries: Mapping[str, Entry]
    homes: Mapping[str, int]
    inside: Mapping[str, Mapping[str, Entry]]
    unlistable: frozenset[str] = frozenset()
    overfull: frozenset[str] = frozenset()

    @property
    def by_step(self) -> list[str]:
        """Names of the checkpoints that are there, by step."""
        return sorted(self.inside, key=lambda name: (self.homes[name], name))


_ONE_SLASH = r"([a-z][a-z0-9+.-]+):/?(?=[^/])"


def no_such_checkpoint(path: str, names: Iterable[str]) -> AuditError:
    """Return the error for a checkpoint that is not there; ``names`` are those of what is."""
    there = sorted(filter(is_checkpoint_of_any, names), key=order)
    return AuditError(f"{path}: no such checkpoint; there: {listed(there)}")


def locate(path: str) -> tuple[str, tuple[str, ...]]:
    """Split what the user named into the run's directory and the checkpoints to judge (none: all).

    Naming one ``checkpoint-N`` judges that one, with its neighbours as context. Raises AuditError, for a URL as well:
    most commands do not take one, :func:`audit.facts.place.place_behind` is for those that do.
    """
    if scheme_of(path) is not None:
        raise AuditError(
            f"{without_secrets(path)}: is not on this machine; a URL can be given to audit verify, guard, list, show, best, "
            "diff, export, report, seal and fleet"
        )
    if not os.path.lexists(path):
        home = os.path.dirname(os.path.abspath(path))
        if is_checkpoint_of_any(os.path.basename(path)) and os.path.isdir(home):
            raise no_such_checkpoint(path, os.listdir(home))
        url = re.match(_ONE_SLASH, path)
        if url is not None:
            raise AuditError(f"{path}: no such run; a URL has two slashes: {url[1]}://{path[url.end() :]}")
        raise AuditError(f"{path}: no such run; give the output directory that holds checkpoint-N directories")
    if not os.path.isdir(path):
        if os.path.isfile(path) and is_checkpoint_of_any(os.path.basename(path)):
            return os.path.dirname(path) or ".", (os.path.basename(path),)
        raise AuditError(f"{path}: is not a directory; give the output directory that holds checkpoint-N directories")
    whole = os.path.abspath(path)
    name = os.path.basename(whole)
    if is_checkpoint(name) or (is_checkpoint_of_any(name) and _is_no_run(whole)):
        return os.path.dirname(whole), (name,)
    return path, ()


def _is_no_run(path: str) -> bool:
    """Whether a directory has states and no checkpoint in it: a run may be called ``step_2``, too."""
    found = False
    for _, inner, names in islice(os.walk(path), 4):
        if any(map(is_checkpoint_of_any, inner)):
            return False
        found = found or any(name.endswith(STATES) for name in names)
    return found


def list_run(path: str, storage: Storage, backend: "Backend") -> Listing:
    """List a run and its checkpoints; ``path`` is for the message. Raises AuditError if the root cannot be listed."""
    try:
        entries = {entry.name: entry for entry in storage.list("")}
    except OSError as error:
        raise AuditError(f"{path}: cannot be listed: {error.strerror or error}") from error
    homes = dict(_homes(entries, backend, storage))
    found = {name: inside for name in homes if (inside := list_checkpoint(storage, name, entries[name])) is not None}
    return Listing(
        entries,
        homes,
        {name: inside.entries for name, inside in found.items()},
        frozenset().union(*(inside.unlistable for inside in found.values())),
        frozenset(name for name, inside in found.items() if inside.overfull),
    )


def _homes(entries: Mapping[str, Entry], backend: "Backend", storage: Storage) -> Iterator[tuple[str, int]]:
    kinds = units(backend)
    for name, entry in entries.items():
        if entry.kind not in kinds:
            continue
        step = backend.checkpoint_step(name)
        if step is None and has_step_inside(backend, name):
            step = _step_inside(entry, backend, storage)
        if step is not None:
            yield name, step


def _step_inside(entry: Entry, backend: "Backend", storage: Storage) -> int:
    """Read the step of a checkpoint whose name does not tell it; 0 if it cannot be read: then it is the first in order.

    Of a directory it is in the first of the backend's files that is there, if that is no link.
    """
    from audit.formats.damage import Damage
    from audit.formats.torch_archive import part_of, read_torch

    path = entry.path if entry.kind == FILE else _values_below(entry, backend, storage)
    if path is None:
        return 0
    try:
        with storage.open(path) as source:
            archive = read_torch(source)
    except OSError:
        return 0
    found = archive if isinstance(archive, Damage) else part_of(archive, parts(backend)["step"])
    step = 0 if isinstance(found, Damage) else found.value
    return step if type(step) is int and 0 <= step < 1 << 63 else 0


def _values_below(entry: Entry, backend: "Backend", storage: Storage) -> str | None:
    for name in values_in(backend):
        directory, _, last = f"{entry.path}/{name}".rpartition("/")
        try:
            if any(item.name == last and item.kind == FILE for item in storage.list(directory)):
                return f"{directory}/{last}"
        except OSError:
            continue
    return None


def newest_inside(
    storage: Storage, entries: Mapping[str, Entry], claims: Sequence["Backend"]
) -> Iterator[tuple[str, Inside]]:
    """List the checkpoints that the backends recognise by name, one after the other from the newest on.

    ``entries`` are those of the run's root. For :func:`audit.backend.protocol.writers_of`.
    """
    steps = {
        name: step
        for name, entry in entries.items()
        for item in claims
        if entry.kind in units(item) and (step := item.checkpoint_step(name)) is not None
    }
    for name in sorted(steps, key=lambda name: (steps[name], name), reverse=True)[:MOST_ASKED]:
        found = list_checkpoint(storage, entries[name].path, entries[name])
        if found is not None:
            yield name, found


def list_checkpoint(storage: Storage, name: str, entry: Entry | None = None) -> Inside | None:
    """List one checkpoint now, None if it is gone. ``entry`` is its own, if that was listed just before."""
    if entry is None:
        entry = _entry(storage, name)
    if entry is not None and entry.kind == FILE:
        return Inside({ITSELF: entry}, frozenset(), False)
    walk = _Walk(storage, name)
    return Inside(walk.entries, frozenset(walk.unlistable), walk.overfull) if walk.into(name, 1) else None


def _entry(storage: Storage, name: str) -> Entry | None:
    """The entry of a checkpoint that may be a file; None for every other name, whose entry nobody needs."""
    if not is_checkpoint_file(name):
        return None
    try:
        return next((entry for entry in storage.list("") if entry.name == name), None)
    except OSError:
        return None


class _Walk:
    """Collects what is below one checkpoint's directory."""

    def __init__(self, storage: Storage, checkpoint: str) -> None:
        self._storage = storage
        self._skipped = len(checkpoint) + 1
        self.entries: dict[str, Entry] = {}
        self.unlistable: set[str] = set()
        self.overfull = False

    def into(self, path: str, level: int) -> bool:
        """Add what is below a directory; False if it was deleted meanwhile."""
        try:
            found = self._storage.list(path)
        except FileNotFoundError:
            return False
        except OSError:  # the rule files/unreadable reports it: the entry stays, its contents are unknown
            self.unlistable.add(path)
            return True
        for entry in found:
            if len(self.entries) >= MAX_ENTRIES:
                self.overfull = True
                return True
            self.entries[intern(entry.path[self._skipped :])] = entry  # the same in every checkpoint
            if entry.kind != DIRECTORY:
                continue
            if level < MAX_DEPTH:
                self.into(entry.path, level + 1)
            else:
                self.overfull = True
        return True
