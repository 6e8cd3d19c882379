"""``audit-seal.json`` in a repository: the files of a pushed checkpoint, committed last, so it says "complete" as well.

It is read from a repository that may be anybody's: every path in it is checked.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.plugin import AuditError, PushedFile, __version__, checkpoint_step, is_checkpoint_of_any
from audit_hub.settings import is_safe_path

NAME = "audit-seal.json"
LARGEST = 16 << 20
MOST = 100_000
_RENAMED = ("README.md", ".gitattributes", ".gitignore")
"""The Hub checks the header of README.md and refuses the whole upload for a ``base_model`` that is a path; the others
mean something to git."""
_IGNORED = (".git", ".cache")
"""Directories that ``upload_folder`` leaves out."""


class Manifest(NamedTuple):
    """A checkpoint in a repository, under the name that its trainer gave it.

    ``saved`` is the youngest mtime of its files in nanoseconds.
    """

    checkpoint: str
    step: int
    saved: int
    files: Mapping[str, PushedFile]

    @property
    def size(self) -> int:
        """The size of all files."""
        return sum(file.size for file in self.files.values())

    def stored(self) -> dict[str, PushedFile]:
        """Return the files by the path that they have in the repository."""
        return {stored_name(path): file for path, file in self.files.items()}

    def text(self) -> bytes:
        """Return the file, the same for the same checkpoint."""
        files = {path: list(file) for path, file in sorted(self.files.items())}
        document = {"schema_version": 1, "program": f"checkpoint-audit {__version__}", **self._asdict(), "files": files}
        return (json.dumps(document, indent=1) + "\n").encode()


def stored_name(path: str) -> str:
    """Return the name of a file of a checkpoint in the repository. Raises AuditError if it cannot be there."""
    if path in _RENAMED:
        return f"{path.lstrip('.')}.saved"
    if path.split("/", maxsplit=1)[0] in _IGNORED or not is_safe_path(path) or path == NAME:
        raise AuditError(f"{path!r}: a file of this name cannot be pushed to the Hub")
    return path


def read_manifest(text: bytes, where: str) -> Manifest:
    """Read the file of a repository. Raises AuditError, with ``where`` it was found, if it cannot be used."""
    try:
        document: Any = json.loads(text)
        name, step, saved = document["checkpoint"], document["step"], document["saved"]
        files = {path: PushedFile(*entry) for path, entry in document["files"].items()}
        if document["schema_version"] != 1:
            raise AuditError(f"{where}: is of another version of checkpoint-audit; upgrade it")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise AuditError(f"{where}: is not the seal of a checkpoint") from error
    if not _is_checkpoint(name, step) or not _is_count(saved):
        raise AuditError(f"{where}: names no checkpoint")
    for path, file in files.items():
        if not is_safe_path(path) or not _is_count(file.size) or not (_is_hex(file.blake3) and _is_hex(file.sha256)):
            raise AuditError(f"{where}: has a file that it does not describe, or that is outside of the checkpoint")
    if not files or len(files) > MOST or len({stored_name(path) for path in files}) != len(files):
        raise AuditError(f"{where}: lists no files, too many, or one twice")
    folders = {path.rpartition("/")[0] for path in files}
    if folders & files.keys():
        raise AuditError(f"{where}: has a file that is a directory as well")
    return Manifest(name, int(step), int(saved), files)


def _is_checkpoint(name: Any, step: Any) -> bool:
    """Whether a trainer calls the checkpoint of a step so, and the name is one part of a path."""
    if not isinstance(name, str) or not _is_count(step) or not is_checkpoint_of_any(name):
        return False
    return is_safe_path(name) and "/" not in name and checkpoint_step(name) in (None, step)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _is_hex(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set("0123456789abcdef").issuperset(value)
