"""All digests of a file in one pass: BLAKE3 of the seal, SHA-256 and the git object id by which the Hub knows it."""

import hashlib
import os
from typing import NamedTuple

from audit.plugin import AuditError, PushedFile

_BLOCK = 8 << 20


class Digests(NamedTuple):
    """``git`` is the id of the blob: SHA-1 of ``blob SIZE``, a zero byte and the content."""

    size: int
    blake3: str
    sha256: str
    git: str

    @property
    def pushed(self) -> PushedFile:
        """What a seal has of the file."""
        return PushedFile(self.size, self.blake3, self.sha256)


def digests_of(path: str) -> Digests:
    """Read a file once. A link, a FIFO or a device is refused. Raises AuditError."""
    from blake3 import blake3

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            three, two, git = blake3(), hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
            read = 0
            while block := file.read(_BLOCK):
                read += len(block)
                for hasher in (three, two, git):
                    hasher.update(block)
    except OSError as error:
        raise AuditError(f"{path}: cannot be read: {error.strerror or error}") from error
    if read != size:
        raise AuditError(f"{path}: changed while it was read")
    return Digests(size, three.hexdigest(), two.hexdigest(), git.hexdigest())
