"""What a storage behind a URL needs of a client library: one flat listing, and ranges of one version of an object."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol


class Object(NamedTuple):
    """One object below the run: ``key`` relative to it, ``size`` in bytes, ``mtime_ns`` since the epoch or 0.

    ``version`` is an ETag or whatever else changes when the object is replaced; None if the storage has nothing.
    """

    key: str
    size: int
    version: str | None
    mtime_ns: int


class ChangedError(OSError):
    """An object is another one than was listed, or gone: somebody is writing the run."""


class Source(Protocol):
    """A client library, reduced to what is asked of it.

    Both methods raise :class:`audit.plugin.UnreachableError` where the storage itself fails, with no secret in the
    message.
    """

    @property
    def identity(self) -> str:
        """The URL, with the endpoint where it is not the usual one."""
        ...

    @property
    def times(self) -> str | None:
        """Whose times the objects have."""
        ...

    def pages(self) -> Iterable[list[Object]]:
        """List all objects below the run, page by page; each page is a request."""
        ...

    def read(self, item: Object, start: int, end: int) -> memoryview:
        """Return the bytes from ``start`` to ``end`` of the object as it was listed. Raises ChangedError."""
        ...
