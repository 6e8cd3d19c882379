"""Which base model: where it is, and whether it is the one that the adapter was trained on, as far as that is known.

A run is untrusted, so a path in it is not followed; a name on the Hub is looked up in the user's own cache. What a base
is called proves nothing. Two things in the ledger do: the identity that `audit train` records with each leg, and the
digests of all files, recorded by the first merge or by ``audit seal --base``.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from audit.errors import AuditError
from audit.ledger.events import SealedFile
from audit.ledger.records import Records
from audit.manager import Registry
from audit.merging.refusals import refuse
from audit.text import shortened

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_DIGESTS = {"config": "config.json", "tensors": "names, types or shapes of tensors", "weights": "weights"}


class Compared(NamedTuple):
    """What the base was compared with.

    ``identity``: the parts of it that are the same; ``sealed``: all its files are the ones whose digests the ledger
    has. ``notes`` say what the reader of the proof should know.
    """

    identity: tuple[str, ...]
    sealed: bool
    notes: tuple[str, ...]


def find_base(config: Mapping[str, Any], where: str, registry: Registry, backend: str) -> str:
    """Return the directory of the base that an adapter names, in the cache of the Hub. Raises AuditError: not there."""
    name, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(name, str) or not name:
        raise AuditError(f"{where}: names no base model; give it with --base DIR")
    shown = shortened(name, 200)
    if not _NAME.fullmatch(name) or os.path.exists(name):
        raise AuditError(f"{where}: names the base {shown}; paths in a run are not followed, so give it: --base DIR")
    found = _cached(name, revision, registry, backend)
    if found is None:
        raise AuditError(
            f"{where}: names the base {shown}, which is not in the cache of the Hub; give it with --base DIR"
        )
    return found


def _cached(name: str, revision: Any, registry: Registry, backend: str) -> str | None:
    model = {"name_or_path": name}
    if isinstance(revision, str) and _REVISION.fullmatch(revision):
        model["revision"] = revision
    for trainer in _trainers(registry, backend):
        asked = getattr(trainer, "base_directory", None)
        found = asked({"model": model}) if asked is not None else None
        if found is not None:
            return str(found)
    return None


def base_path(given: str | None, config: Mapping[str, Any], where: str, registry: Registry, backend: str) -> str:
    """Return the directory of the base that the user gives, as a path or a name, or that the adapter names.

    Raises AuditError if the adapter names none that is there; what the user gave is not looked at.
    """
    if given is None:
        return find_base(config, where, registry, backend)
    if os.path.isdir(given) or not _NAME.fullmatch(given):
        return given
    return _cached(given, None, registry, backend) or given


def compare_identity(path: str, recorded: Mapping[str, str] | None, registry: Registry, backend: str) -> Compared:
    """Compare a base with what the ledger records of the one that was trained on. Raises RefusedError: another one."""
    notes = []
    if recorded and recorded.get("quantization"):
        notes.append(
            "the adapter was trained on a quantised base: merged into the unquantised one, it answers a little differently"
        )
    if recorded and recorded.get("kind") == "random":
        notes.append("the base of this run had random weights from a seed, which cannot be compared with files")
        return Compared((), False, tuple(notes))
    now: Mapping[str, str] = {}
    for trainer in _trainers(registry, backend):
        asked = getattr(trainer, "base_identity", None)
        if asked is not None:
            now = asked({"model": {"name_or_path": os.path.abspath(path)}}, 0) or {}
            break
    same = []
    for key, what in _DIGESTS.items():
        if recorded and key in recorded and key in now:
            if recorded[key] != now[key]:
                refuse(
                    path,
                    f"is not the base that the adapter was trained on: the ledger records other {what}",
                    "give that one with --base",
                )
            same.append(key)
    return Compared(tuple(same), False, tuple(notes))


def compare_files(path: str, files: Mapping[str, SealedFile], records: Records, run: str) -> bool:
    """Return whether the ledger has digests of the base's files, and these are them. Raises RefusedError: others."""
    sealed = records.base
    if sealed is None:
        return False
    wrong = sorted(name for name in files.keys() | sealed.keys() if files.get(name) != sealed.get(name))
    if wrong:
        refuse(
            path,
            f"{wrong[0]} is not the file that the ledger of {run} records as the base's",
            f"restore it; or, if this is the right base, record it: audit seal {run} --base {path}",
        )
    return True


def _trainers(registry: Registry, backend: str) -> Iterator[Any]:
    """All training backends, that of the run first."""
    yield from sorted(registry.trainers, key=lambda trainer: trainer.name != backend)
