"""Rows about checkpoints that are pushed to a remote store: what is to be pushed, and what became of it.

A queue of pushes is these two kinds of rows replayed. A row of the second kind belongs to the push of its ``id``.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.ledger.json_values import Content, Written, as_integer, as_step, as_text

_HEX = frozenset("0123456789abcdef")

WAITING, STUCK, REFUSED, PUSHED, VERIFIED, WRONG, REMOVED = (
    "waiting", "stuck", "refused", "pushed", "verified", "wrong", "removed",
)  # fmt: skip
"""States of a push: to be tried again; only a person can help; can never be pushed; the store has recorded the right
size and digest of every file; every byte was read back; a difference was found; it was removed from the store."""
STATES = (WAITING, STUCK, REFUSED, PUSHED, VERIFIED, WRONG, REMOVED)


class PushedFile(NamedTuple):
    """Size in bytes, BLAKE3 and SHA-256 of one file, hexadecimal; ``sha256`` is empty until it was pushed."""

    size: int
    blake3: str
    sha256: str = ""


class PushQueued(NamedTuple):
    """A proven checkpoint is to be pushed to ``repo``, into ``folder`` (may be empty) of ``branch``.

    ``repo`` may contain ``{user}``, which only the store can tell. ``files`` by path relative to the checkpoint, as the
    seal has them. ``id`` names the push: another seal or another target is another push. ``read_back``: it is done when
    every byte was read back, not before. A second row of an ``id`` replaces the first.
    """

    id: str
    checkpoint: str
    step: int
    repo: str
    folder: str
    branch: str
    private: bool
    files: Mapping[str, PushedFile]
    read_back: bool = False

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.size for file in self.files.values())

    def row(self) -> Written:
        files = {path: [file.size, file.blake3] for path, file in sorted(self.files.items())}
        return "push", {**self._asdict(), "files": files}

    @classmethod
    def read(cls, content: Content) -> "PushQueued | None":
        id, checkpoint, repo = (as_text(content.get(key)) for key in ("id", "checkpoint", "repo"))
        step, files = as_step(content.get("step")), _files(content.get("files"), 2)
        if not (id and _HEX.issuperset(id)) or not checkpoint or repo is None or step is None or files is None:
            return None
        folder, branch = as_text(content.get("folder")) or "", as_text(content.get("branch")) or "main"
        return cls(
            id,
            checkpoint,
            step,
            repo,
            folder,
            branch,
            content.get("private") is not False,
            files,
            content.get("read_back") is True,
        )


class PushState(NamedTuple):
    """What became of the push ``id``.

    ``tries`` so far; ``next``: the next is not before that time (UTC, ISO 8601); ``reason``: why it is not further on.
    ``repo`` is the name in the store, ``commit`` the revision that was proven, ``files`` what is there with SHA-256.
    """

    id: str
    state: str
    tries: int = 0
    next: str | None = None
    reason: str | None = None
    repo: str | None = None
    commit: str | None = None
    files: Mapping[str, PushedFile] | None = None

    def row(self) -> Written:
        files = self.files
        kept = {key: value for key, value in self._asdict().items() if value is not None}
        if files is not None:
            kept["files"] = {path: list(file) for path, file in sorted(files.items())}
        return "push-state", kept

    @classmethod
    def read(cls, content: Content) -> "PushState | None":
        id, state = as_text(content.get("id")), as_text(content.get("state"))
        if id is None or state not in STATES:
            return None
        next, reason, repo, commit = (as_text(content.get(key)) for key in ("next", "reason", "repo", "commit"))
        tries = as_integer(content.get("tries")) or 0
        return cls(id, state, tries, next, reason, repo, commit, _files(content.get("files"), 3))


PushEvent = PushQueued | PushState


def push_event_of(kind: str, content: Content) -> PushEvent | None:
    """Return what a row about a push records, None for one of another shape or kind."""
    if kind == "push":
        return PushQueued.read(content)
    return PushState.read(content) if kind == "push-state" else None


def _files(value: Any, parts: int) -> dict[str, PushedFile] | None:
    if not isinstance(value, dict):
        return None
    found = {}
    for path, entry in value.items():
        if not (isinstance(entry, list) and len(entry) == parts and as_step(entry[0]) is not None):
            return None
        if not all(isinstance(digest, str) and len(digest) == 64 and _HEX.issuperset(digest) for digest in entry[1:]):
            return None
        found[path] = PushedFile(*entry)
    return found
