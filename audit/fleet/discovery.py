"""Find the runs below a root by one walk that lists every directory once, and say by a digest what changed.

A run is a directory with a checkpoint that a registered backend recognises, as in ``audit verify``, or with a ledger of
its own. Nothing is looked for inside a checkpoint and in directories whose names begin with a dot. Links are never
followed.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from audit.audit_dir import AUDIT_DIR
from audit.backend.protocol import Backend, has_step_inside, units, writers_of
from audit.errors import AuditError
from audit.facts.listing import Inside, list_checkpoint, newest_inside
from audit.facts.other_trainers import is_checkpoint_of_others
from audit.facts.traces import unread_checkpoint
from audit.fleet.rows import FAILED, UNREAD, shown
from audit.storage import DIRECTORY, FILE, Entry, LocalStorage, Storage, scheme_of, without_secrets

if TYPE_CHECKING:
    from audit.manager import Registry

DEEPEST = 64
"""Levels below a root that are looked into."""

_VOLATILE = frozenset({"lock", "progress.json", "training.log", "day-told", "reserve"})
"""Files of ``.audit`` that a training keeps writing, and no judgement reads."""


class Found(NamedTuple):
    """A run below ``root``; ``path`` is absolute, or a URL.

    ``digest`` is one of all entries that a judgement rests on: names, kinds, sizes and times. ``newest_ns`` is the time
    of the youngest of them, ``bytes`` the size of all checkpoints. With ``status`` it cannot be audited, and ``error``
    says why.
    """

    path: str
    root: str
    digest: str = ""
    newest_ns: int = 0
    bytes: int = 0
    status: str = ""
    error: str = ""

    @property
    def owner(self) -> str:
        """The first directory below the root, "." for the root itself."""
        return self.path[len(self.root) :].lstrip("/").partition("/")[0] or "."


def find_runs(
    roots: Sequence[str], backends: Sequence[Backend], opened: Callable[[str], Storage] = LocalStorage
) -> Iterator[Found]:
    """Return all runs below the roots, in the order of :func:`audit.fleet.rows.order`.

    ``opened`` gives the storage of a root, a directory or a URL. A root inside another one is not walked again. Raises
    AuditError for a root that is no directory or not listable.
    """
    for root in outermost(roots):
        yield from _Walk(root, opened(root), backends).runs()


def opener(registry: "Registry") -> Callable[[str], Storage]:
    """Return what opens a root; it raises AuditError for a URL of a scheme that no plugin reads."""

    def opened(root: str) -> Storage:
        return LocalStorage(root) if scheme_of(root) is None else registry.storage(root)

    return opened


def outermost(roots: Sequence[str]) -> list[str]:
    """Return the roots as absolute paths, in order, without those inside another. Raises AuditError for none."""
    found: list[str] = []
    whole = sorted(set(map(_absolute, roots)), key=lambda path: shown(path).split("/"))
    for root in whole:
        if scheme_of(root) is not None:
            pass  # what is behind it is known when it is opened
        elif not os.path.lexists(root):
            raise AuditError(f"{root}: no such directory; name one below which runs are")
        elif not os.path.isdir(root):
            raise AuditError(f"{root}: is not a directory; name one below which runs are")
        if not any(root.startswith(f"{other.rstrip('/')}/") for other in found):
            found.append(root)
    return found


def _absolute(root: str) -> str:
    if scheme_of(root) is None:
        return os.path.abspath(root)
    url = root.rstrip("/")
    if without_secrets(url) != url or not {"", ".", ".."}.isdisjoint(url.partition("://")[2].split("/")):
        raise AuditError(
            f"{without_secrets(root)}: is no plain URL; give SCHEME://BUCKET/PATH, without a password or query"
        )
    return url


class _Walk:
    """Depth first, names in order: memory grows with the width of a directory, not with the number of runs."""

    def __init__(self, root: str, storage: Storage, backends: Sequence[Backend]) -> None:
        self._root = root
        self._storage = storage
        self._backends = backends

    def runs(self) -> Iterator[Found]:
        waiting = [""]
        while waiting:
            path = waiting.pop()
            try:
                entries = {entry.name: entry for entry in self._storage.list(path)}
            except FileNotFoundError as error:
                if not path:
                    raise AuditError(f"{self._root}: was deleted while it was listed") from error
                continue
            except OSError as error:
                reason = f"cannot be listed: {error.strerror or error}"
                if not path:
                    raise AuditError(f"{self._root}: {reason}") from error
                yield self._unaudited(path, FAILED, f"the directory {reason}")
                continue
            below: set[str] = set()
            found = self._run(path, entries)
            if found is not None:
                run, below = found
                yield run
            elif trace := unread_checkpoint(self._whole(path), entries, self._storage):
                yield self._unaudited(path, UNREAD, f"{trace.what}; {trace.remedy}")
                if trace.path == self._whole(path):
                    continue
                below = set(filter(is_checkpoint_of_others, entries))
            inner = [entry for name, entry in entries.items() if _is_walked(entry) and name not in below]
            if inner and path.count("/") + 2 > DEEPEST:
                yield self._unaudited(path, FAILED, f"is {DEEPEST} levels below the root; no deeper one is looked into")
                continue
            inner.sort(key=lambda entry: shown(entry.name), reverse=True)
            waiting += [entry.path for entry in inner]

    def _unaudited(self, path: str, status: str, error: str) -> Found:
        return Found(self._whole(path), self._root, status=status, error=error)

    def _whole(self, path: str) -> str:
        return os.path.join(self._root, path) if path else self._root

    def _run(self, path: str, entries: Mapping[str, Entry]) -> tuple[Found, set[str]] | None:
        """Return the run that a directory is, with the names of its checkpoints; None if it is none."""
        claims: Sequence[Backend] = [backend for backend in self._backends if backend.recognises(entries)]
        inside: dict[str, Inside] = {}
        if claims:
            claims = writers_of(claims, self._newest(entries, claims, inside))
        homes = {name for name, entry in entries.items() if any(_is_home(name, entry, item) for item in claims)}
        if not homes and not self._has_ledger(entries):
            return None
        for name in homes:
            if name not in inside and (found := list_checkpoint(self._storage, entries[name].path, entries[name])):
                inside[name] = found
        return self._digested(path, entries, homes, inside), homes

    def _newest(
        self, entries: Mapping[str, Entry], claims: Sequence[Backend], inside: dict[str, Inside]
    ) -> Iterator[Mapping[str, Entry]]:
        """What is in the checkpoints, the newest first; it is kept, so that none is listed again."""
        for name, found in newest_inside(self._storage, entries, claims):
            inside[name] = found
            yield found.entries

    def _has_ledger(self, entries: Mapping[str, Entry]) -> bool:
        return AUDIT_DIR in entries and any(entry.name == "ledger.db" for entry in self._kept(entries))

    def _kept(self, entries: Mapping[str, Entry]) -> list[Entry]:
        """What the audit keeps beside the run; its own directories by their times alone."""
        own = entries.get(AUDIT_DIR)
        if own is None or own.kind != DIRECTORY:
            return []
        try:
            return [entry for entry in self._storage.list(own.path) if entry.name not in _VOLATILE]
        except OSError:
            return []

    def _digested(
        self, path: str, entries: Mapping[str, Entry], homes: set[str], inside: Mapping[str, Inside]
    ) -> Found:
        from blake3 import blake3

        lines, newest, size = [], 0, 0
        for name, entry in entries.items():
            if entry.kind == DIRECTORY and name not in homes:  # what is in it, such as another run, is not of this one
                lines.append(f"{name}/")
            else:
                lines.append(_stamp(name, entry))
                newest = max(newest, entry.mtime_ns)
        for name, there in sorted(inside.items()):
            lines += [f"{name} {_stamp(file, entry)}" for file, entry in there.entries.items()]
            lines += [f"{name} {part}" for part in sorted(there.unlistable)] + [f"{there.overfull}"]
            newest = max([newest, *(entry.mtime_ns for entry in there.entries.values())])
            size += sum(entry.size for entry in there.entries.values() if entry.kind == FILE)
        lines += [f"{AUDIT_DIR} {_stamp(entry.name, entry)}" for entry in self._kept(entries)]
        digest = blake3("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest(16)
        return Found(self._whole(path), self._root, digest, newest, size)


def _is_home(name: str, entry: Entry, backend: Backend) -> bool:
    named = backend.checkpoint_step(name) is not None or has_step_inside(backend, name)
    return named and entry.kind in units(backend)


def _is_walked(entry: Entry) -> bool:
    return entry.kind == DIRECTORY and not entry.name.startswith(".")


def _stamp(name: str, entry: Entry) -> str:
    """What tells a changed entry. The time of the inode is in it: a tool that sets back the other one moves it."""
    times = f"{entry.mtime_ns} {entry.ctime_ns}"
    return f"{name!r} {entry.kind} {entry.size} {times} {entry.target!r} {entry.version!r}"


__all__ = ["Found", "find_runs", "opener", "outermost"]
