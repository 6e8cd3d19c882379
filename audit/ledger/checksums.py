"""Write a seal as a checksum file that ``b3sum --check`` or ``sha256sum --check`` reads."""

import os

from audit.audit_dir import SEALS, make, replaced
from audit.backend.protocol import ITSELF
from audit.errors import AuditError
from audit.ledger.seals import Seal, checksum_line
from audit.storage import LocalStorage, Storage, pieces


def write_checksums(run: str, seal: Seal, algorithm: str, storage: Storage | None = None) -> str:
    """Write ``<run>/.audit/seals/<checkpoint>.<suffix>`` and return its path; paths in it are relative to the run.

    ``storage`` has the files, if they are not in ``run``.

    SHA-256 digests are taken now, of files whose BLAKE3 digest the seal holds and the caller has just checked.
    Raises AuditError if it cannot be written.
    """
    suffix = {"blake3": "b3", "sha256": "sha256"}[algorithm]
    path = os.path.join(make(run, SEALS, "nothing is written there"), f"{seal.checkpoint}.{suffix}")
    text = ""
    try:
        for name, sealed in sorted(seal.files.items()):
            place = seal.checkpoint if name == ITSELF else f"{seal.checkpoint}/{name}"
            digest = sealed.digest if algorithm == "blake3" else _sha256(storage or LocalStorage(run), place)
            text += checksum_line(digest, place)
        with replaced(path) as scratch, open(scratch, "x", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
    except OSError as error:
        raise AuditError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def _sha256(storage: Storage, path: str) -> str:
    from hashlib import sha256

    found = sha256()
    with storage.open(path) as source:
        for piece in pieces(source, source.size, path):
            found.update(piece)
    return found.hexdigest()
