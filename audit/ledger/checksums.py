"""Write a seal as a checksum file that ``b3sum --check`` or ``sha256sum --check`` reads."""

import os

from audit.errors import AuditError
from audit.ledger.seals import Seal, checksum_line


def write_checksums(run: str, seal: Seal, algorithm: str) -> str:
    """Write ``<run>/.audit/seals/<checkpoint>.<suffix>`` and return its path; paths in it lead from the run.

    SHA-256 digests are taken now, of files whose BLAKE3 digest the seal holds and the caller has just checked.
    Raises AuditError where it cannot be written.
    """
    suffix = {"blake3": "b3", "sha256": "sha256"}[algorithm]
    path = os.path.join(seals_home(run), f"{seal.checkpoint}.{suffix}")
    text = ""
    try:
        for name, sealed in sorted(seal.files.items()):
            digest = sealed.digest if algorithm == "blake3" else _sha256(os.path.join(run, seal.checkpoint, name))
            text += checksum_line(digest, f"{seal.checkpoint}/{name}")
        scratch = f"{path}.{os.getpid()}.tmp"
        with open(scratch, "x", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        os.replace(scratch, path)
    except OSError as error:
        raise AuditError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def seals_home(run: str) -> str:
    """Make ``<run>/.audit/seals`` and return its path. Raises AuditError where it cannot be made, or is a link."""
    home = os.path.join(run, ".audit", "seals")
    for place in (os.path.dirname(home), home):
        if os.path.islink(place):
            raise AuditError(f"{place}: is a link, so nothing is written there")
    try:
        os.makedirs(home, exist_ok=True)
    except OSError as error:
        raise AuditError(f"{home}: cannot be written: {error.strerror or error}") from error
    return home


def _sha256(path: str) -> str:
    from hashlib import file_digest

    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()
