"""Files of a checkpoint that are read here and there: the last few stay open, as a tensor may be in a thousand."""

from contextlib import ExitStack
from typing import Any

from audit.facts.file import File

MOST_OPEN = 64
"""Files that are open at a time."""


class OpenFiles:
    """Opens files as they are read, and closes them all in the end."""

    def __init__(self) -> None:
        self._open: dict[File, tuple[ExitStack, Any]] = {}

    def __enter__(self) -> "OpenFiles":
        return self

    def __exit__(self, *exc: object) -> None:
        for stack, _ in self._open.values():
            stack.close()
        self._open.clear()

    def reader(self, file: File) -> "LastingReader":
        """Return a reader of the file. Reading raises OSError if the file cannot be opened."""
        return LastingReader(self, file)

    def opened(self, file: File) -> Any:
        """An open reader of the file; one that was not used for long may be closed for it."""
        found = self._open.pop(file, None)
        if found is None:
            if len(self._open) >= MOST_OPEN:
                self._open.pop(next(iter(self._open)))[0].close()
            stack = ExitStack()
            found = (stack, stack.enter_context(file.open()))
        self._open[file] = found
        return found[1]


class LastingReader:
    """A file that is opened when it is read."""

    def __init__(self, files: OpenFiles, file: File) -> None:
        self._files = files
        self._file = file
        self.size = file.entry.size

    def read(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes from ``offset``."""
        found: bytes = self._files.opened(self._file).read(offset, length)
        return found

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Read into a buffer; return how many bytes."""
        count: int = self._files.opened(self._file).read_into(offset, buffer)
        return count
