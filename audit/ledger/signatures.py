"""Signatures over a seal, in the bundle format of model_signing, so that people outside can check it.

They do not need this package: ``model_signing verify key CHECKPOINT --signature FILE --public_key KEY``.

The library (extra ``signing``) is imported where it is used. It signs, verifies and defines the file format; the files
are read here, without a memory map and without following links.
"""

import os
from collections.abc import Iterator
from typing import Any

from audit.audit_dir import SEALS, make, replaced
from audit.backend.protocol import ITSELF
from audit.errors import AuditError
from audit.ledger.seals import Seal
from audit.storage import DIRECTORY, FILE, LocalStorage

NOT_SIGNED = frozenset({".git", ".gitattributes", ".github", ".gitignore"})
"""Left out by model_signing, too, at the top of the directory (model_signing 1.1.1, hashing.py)."""

_BLOCK = 1 << 20
_LARGEST = 64 << 20
"""Bytes; a bundle has about 150 per file."""


class Signer:
    """Signs seals with an elliptic-curve private key (PEM: P-256, P-384 or P-521)."""

    def __init__(self, private_key: str) -> None:
        """Load the key. Raises AuditError if it is not a key, or the library is missing."""
        library = _library()
        self._config = _with_key(
            private_key, lambda: library.signing.Config().use_elliptic_key_signer(private_key=private_key)
        )

    def sign(self, run: str, seal: Seal, algorithm: str) -> str:
        """Write ``<run>/.audit/seals/<checkpoint>.sig`` and return its path.

        ``blake3`` signs the digests of the seal. ``sha256``, the only one that the command ``model_signing`` verifies,
        reads the files once more and checks at the same time that they are the sealed ones. Raises AuditError if the
        checkpoint is not what was sealed, or nothing can be written.
        """
        home = os.path.join(run, seal.checkpoint)
        if ITSELF in seal.files:
            raise AuditError(f"{home}: is a file, and only directories are signed; its checksum was written")
        path = os.path.join(make(run, SEALS, "nothing is written there"), f"{seal.checkpoint}.sig")
        try:
            digests = _sealed(home, seal, algorithm)
            with replaced(path) as scratch:
                self._config.set_hashing_config(_Taken(digests, algorithm)).sign(home, scratch)
        except UnicodeError as error:
            raise AuditError(f"{home}: has a file name that is not valid text, and cannot be signed") from error
        except OSError as error:
            raise AuditError(f"{path}: cannot be written: {error.strerror or error}") from error
        return path


class Verifier:
    """Checks signatures with the public key (PEM). Trusts nothing in the run: every byte is read."""

    def __init__(self, public_key: str) -> None:
        """Load the key. Raises AuditError if it is not a key, or the library is missing."""
        library = _library()
        self._config = _with_key(
            public_key, lambda: library.verifying.Config().use_elliptic_key_verifier(public_key=public_key)
        )

    def problem(self, run: str, checkpoint: str) -> str | None:
        """Return why the signature of a checkpoint is not valid, None if it is valid."""
        path = os.path.join(run, SEALS, f"{checkpoint}.sig")
        if not os.path.lexists(path):
            return "there is no signature"
        home = os.path.join(run, checkpoint)
        try:
            algorithm = _algorithm(path)
            self._config.set_hashing_config(_Taken(_digests(home, algorithm), algorithm)).verify(home, path)
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"
        except Exception as error:  # untrusted: whatever is wrong with it, it is not valid
            return " ".join((str(error) or "the signature was not made with this key").split())
        return None


class _Taken:
    """In place of model_signing's hashing configuration: digests (hexadecimal, by path) that were taken already."""

    def __init__(self, digests: dict[str, str], algorithm: str) -> None:
        self._digests = digests
        self._algorithm = algorithm

    def hash(self, model_path: Any, *, files_to_hash: Any = None) -> Any:
        from model_signing import manifest
        from model_signing._hashing.hashing import Digest

        form = manifest.SerializationType.from_args(
            {
                "method": "files",
                "hash_type": self._algorithm,
                "allow_symlinks": False,
                "ignore_paths": sorted(NOT_SIGNED),
            }
        )
        items = [
            form.new_item(path, Digest(self._algorithm, bytes.fromhex(digest)))
            for path, digest in self._digests.items()
            if path.partition("/")[0] not in NOT_SIGNED
        ]
        return manifest.Manifest(os.path.basename(model_path), items, form)

    def add_ignored_paths(self, *, model_path: Any, paths: Any) -> None:
        """A signature cannot exclude files."""


def _library() -> Any:
    try:
        import model_signing
    except ImportError as error:
        raise AuditError(
            f"signatures need {error.name}, which is not installed: pip install 'checkpoint-audit[signing]'"
        ) from error
    return model_signing


def _with_key(path: str, load: Any) -> Any:
    try:
        return load()
    except OSError as error:
        raise AuditError(f"{path}: cannot be read: {error.strerror or error}") from error
    except TypeError as error:  # cryptography: a password was not given
        raise AuditError(f"{path}: the key has a password; use one without") from error
    except Exception as error:  # not PEM, not elliptic, another curve
        raise AuditError(f"{path}: is not a PEM key on the curve P-256, P-384 or P-521") from error


def _sealed(home: str, seal: Seal, algorithm: str) -> dict[str, str]:
    """Return the digests to sign. Raises AuditError if the files are not those of the seal."""
    listed = {path for path, _ in _files(home)}
    if other := sorted(listed ^ seal.files.keys()):
        raise AuditError(f"{home}/{other[0]}: is not what was sealed, so the checkpoint is not signed")
    if algorithm == "blake3":
        return {path: file.digest for path, file in seal.files.items()}
    both = _read(home, algorithm, "blake3")
    for path, file in seal.files.items():
        if both[path][1] != file.digest:
            raise AuditError(f"{home}/{path}: is not what was sealed, so the checkpoint is not signed")
    return {path: digests[0] for path, digests in both.items()}


def _digests(home: str, algorithm: str) -> dict[str, str]:
    return {path: digest for path, (digest,) in _read(home, algorithm).items()}


def _read(home: str, *algorithms: str) -> dict[str, list[str]]:
    """Return the digests of every file of a directory; each file is read once."""
    storage = LocalStorage(home)
    found = {}
    for path, size in _files(home):
        hashes = [_new(algorithm) for algorithm in algorithms]
        with storage.open(path) as reader:
            offset = 0
            while block := reader.read(offset, _BLOCK):
                offset += len(block)
                for taken in hashes:
                    taken.update(block)
        if offset != size:
            raise AuditError(f"{home}/{path}: changed while it was read")
        found[path] = [taken.hexdigest() for taken in hashes]
    return found


def _new(algorithm: str) -> Any:
    if algorithm == "blake3":
        from blake3 import blake3

        return blake3(max_threads=blake3.AUTO)
    from hashlib import sha256

    return sha256()


def _files(home: str) -> Iterator[tuple[str, int]]:
    """Yield path and size of every file of a directory. Raises AuditError for a link or a special file."""
    storage = LocalStorage(home)
    folders = [""]
    while folders:
        for entry in storage.list(folders.pop()):
            if entry.kind == DIRECTORY and entry.target is None:
                folders.append(entry.path)
            elif entry.kind == FILE and entry.target is None:
                yield entry.path, entry.size
            else:
                raise AuditError(f"{home}/{entry.path}: is a link or not a regular file, and only files can be signed")


def _algorithm(path: str) -> str:
    """Return the algorithm of a bundle's digests, as it says; nothing else of it is trusted."""
    import json
    from base64 import b64decode

    folder, name = os.path.split(path)
    with LocalStorage(folder).open(name) as reader:
        if reader.size > _LARGEST:
            raise ValueError("the signature is too large")
        text = reader.read(0, reader.size)
    try:
        payload = json.loads(b64decode(json.loads(text)["dsseEnvelope"]["payload"]))
        algorithm = payload["predicate"]["serialization"]["hash_type"]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise ValueError("the signature is damaged") from error
    if algorithm not in ("blake3", "sha256"):
        raise ValueError("the signature uses neither blake3 nor sha256")
    return str(algorithm)
