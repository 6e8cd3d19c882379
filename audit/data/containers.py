"""Data files as a stream of bytes: plain, or compressed with gzip or zstd, which is known by the first bytes.

What a small file unpacks to is read piece by piece and only up to a limit, so an untrusted one costs time in proportion
to its size, and no memory.
"""

import contextlib
import errno
import gzip
import io
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

from audit.backend.training import BadData
from audit.errors import AuditError
from audit.text import escaped

A_LINK = "is a symbolic link; put the file itself here, or a hard link to it"
GZIP, ZSTD, PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
ALWAYS_ALLOWED = 256 << 20
"""Unpacked bytes that any file may have."""
EXPANSION = 200
"""Beyond that, unpacked bytes for one byte of the file. Text has 3 to 20, gzip reaches 1032, zstd much more."""


class Opened(NamedTuple):
    """An open data file: its unpacked bytes, their beginning (not consumed), and "gzip", "zstd" or None."""

    file: IO[bytes]
    beginning: bytes
    compression: str | None


@contextlib.contextmanager
def opened(path: str) -> Iterator[Opened]:
    """Open a regular file. A link is refused: its target may change, and moving it away would move only the link.

    Raises BadData, also while the file is read, and AuditError if pyarrow is needed for zstd and not installed.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP or os.path.islink(path):
            raise BadData(path, None, A_LINK) from error
        raise BadData(path, None, f"cannot be read: {error.strerror or error}") from error
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        kind = "a directory" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise BadData(path, None, f"is {kind}; a data file is a JSON Lines or Parquet file")
    with open(number, "rb") as file:
        beginning = file.read(64)
        file.seek(0)
        if not beginning.startswith((GZIP, ZSTD)):
            yield Opened(file, beginning, None)
            return
        name = "gzip" if beginning.startswith(GZIP) else "zstd"
        allowed = max(ALWAYS_ALLOWED, EXPANSION * os.fstat(number).st_size)
        unpacked = io.BufferedReader(_Unpacked(path, name, _stream(path, name, file), allowed), 1 << 17)
        yield Opened(unpacked, unpacked.peek(64)[:64], name)


def _stream(path: str, name: str, file: IO[bytes]) -> Callable[[int], bytes]:
    """Return the function that reads up to so many unpacked bytes."""
    if name == "gzip":
        return gzip.GzipFile(fileobj=file, mode="rb").read
    try:
        import pyarrow as pa
    except ImportError as error:
        raise AuditError(
            f"{path}: reading zstd needs pyarrow, which is not installed: pip install 'checkpoint-audit[hf]'"
        ) from error
    read: Callable[[int], bytes] = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd").read
    return read


class _Unpacked(io.RawIOBase):
    """The unpacked bytes of a file. Raises BadData if it is damaged, truncated, or unpacks to more than allowed."""

    def __init__(self, path: str, name: str, read: Callable[[int], bytes], allowed: int) -> None:
        self._path, self._name, self._read, self._allowed = path, name, read, allowed
        self._left = allowed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a part of the buffer; 0 at the end."""
        try:
            piece = self._read(len(buffer))
        except EOFError as error:
            raise BadData(self._path, None, f"is truncated: its {self._name} data has no end") from error
        except (OSError, ValueError, zlib.error, MemoryError) as error:  # of pyarrow, too
            if isinstance(error, OSError) and error.errno is not None:
                raise BadData(self._path, None, f"cannot be read: {error.strerror or error}") from error
            reason = escaped(" ".join(str(error).split())[:120]) or type(error).__name__
            raise BadData(
                self._path, None, f"is damaged: its {self._name} data ends early or is not valid ({reason})"
            ) from error
        self._left -= len(piece)
        if self._left < 0:
            raise BadData(
                self._path,
                None,
                f"unpacks to more than {self._allowed >> 20} MiB, {EXPANSION} times its size; unpack it first if that is right",
            )
        buffer[: len(piece)] = piece
        return len(piece)
