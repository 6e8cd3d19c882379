"""The files of one checkpoint by name, for a backend that assigns roles to them."""

import re
from collections.abc import Mapping

from audit.storage import DIRECTORY, FILE, LINK, SPECIAL, Entry


class Files:
    """The entries of one checkpoint by name, as ``os.path.isfile`` of a trainer would see them."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.entries = entries
        self.root = tuple(name for name in entries if "/" not in name)

    def has(self, name: str) -> bool:
        """Say whether ``name`` is there and not a directory. Links and devices count: other rules check those."""
        entry = self.entries.get(name)
        return entry is not None and entry.kind in (FILE, LINK, SPECIAL)

    def only(self, name: str) -> str | None:
        """Return ``name`` if it is a file, else None."""
        return name if self.has(name) else None

    def first(self, *names: str) -> str | None:
        """Return the first of ``names`` that is a file, else None."""
        return next((name for name in names if self.has(name)), None)

    def directories(self) -> tuple[str, ...]:
        """Return the names of the direct subdirectories."""
        return tuple(name for name in self.root if self.entries[name].kind == DIRECTORY)

    def below(self, directory: str) -> tuple[str, ...]:
        """Return the paths of all files below a subdirectory, sorted."""
        return tuple(sorted(name for name in self.entries if name.startswith(f"{directory}/") and self.has(name)))

    def matching(self, pattern: str | re.Pattern[str]) -> tuple[str, ...]:
        """Return the names of the files beside each other in the checkpoint that match as a whole, sorted."""
        return tuple(sorted(name for name in self.root if re.fullmatch(pattern, name) and self.has(name)))

    def directory(self, pattern: str | re.Pattern[str]) -> str | None:
        """Return the first direct subdirectory whose name matches as a whole, None if there is none."""
        return min((name for name in self.directories() if re.fullmatch(pattern, name)), default=None)
