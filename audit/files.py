"""One file of a checkpoint: what it is by its name, and its contents, read once and safely."""

from typing import TYPE_CHECKING, Any

from audit.errors import NotApplicable
from audit.facts import Facts, fact
from audit.formats.damage import Damage, Kind
from audit.storage import FILE, Entry, RangeReader, Storage

if TYPE_CHECKING:
    from audit.formats.safetensors import Safetensors
    from audit.formats.torch_archive import TorchArchive

JSON, SAFETENSORS, TORCH, OTHER = "json", "safetensors", "torch", "other"

JSON_LIMIT = 64 << 20
"""Bytes. The largest JSON file that a checkpoint really holds is a tokenizer of some 35 MB."""

JSON_QUICK = 1 << 20
"""Bytes. A larger JSON file that no rule reads (a tokenizer) is parsed at full depth only."""

FORMATS = {".json": JSON, ".safetensors": SAFETENSORS, ".pt": TORCH, ".pth": TORCH, ".bin": TORCH}

PLACEHOLDER_SUFFIXES = (".REMOVED.git-id", ".part_aa", ".partaa", ".part-aa")
"""What history cleaners and ``split`` leave in place of a file; no loader finds them."""


class File(Facts):
    """One file; ``path`` is relative to the checkpoint, ``entry`` carries the path relative to the run."""

    def __init__(self, storage: Storage, path: str, entry: Entry) -> None:
        self._storage = storage
        self.path = path
        self.entry = entry
        self.format = FORMATS.get(path[path.rfind(".") :].lower() if "." in path else "", OTHER)

    @property
    def readable(self) -> bool:
        """A regular file inside the checkpoint; links that lead out and devices are never opened."""
        return self.entry.kind == FILE and not self.entry.escapes

    def read(self, reader: Any, *arguments: Any) -> Any:
        """Open the file and hand it to a reader of :mod:`audit.formats`; operating-system errors become Damage."""
        if not self.readable:
            raise NotApplicable(f"{self.path} is not a regular file of this checkpoint")
        try:
            with self._storage.open(self.entry.path) as source:
                return reader(source, *arguments)
        except OSError as error:
            return Damage(Kind.UNREADABLE, f"cannot be read: {error.strerror or error}")

    def open(self) -> Any:
        """Open for the scan. Raises OSError."""
        return self._storage.open(self.entry.path)

    @fact
    def content(self) -> Any:
        """The contents by format: a JSON value, a Safetensors, a TorchArchive, None for other files, or a Damage."""
        if self.format == JSON:
            from audit.formats.json_text import read_json

            return self.read(read_json, JSON_LIMIT)
        if self.format == SAFETENSORS:
            from audit.formats.safetensors import read_safetensors

            return self.read(read_safetensors)
        if self.format == TORCH:
            from audit.formats.torch_archive import read_torch

            return self.read(read_torch)
        return self.read(_first_bytes)

    @fact
    def value(self) -> Any:
        """The contents; raises NotApplicable where they could not be read."""
        if isinstance(self.content, Damage):
            raise NotApplicable(f"{self.path} {self.content.message}")
        return self.content

    @property
    def safetensors(self) -> "Safetensors":
        """The header of a safetensors file. Raises NotApplicable."""
        return self.value  # type: ignore[no-any-return]

    @property
    def archive(self) -> "TorchArchive":
        """The directory and values of a torch file. Raises NotApplicable."""
        return self.value  # type: ignore[no-any-return]


def _first_bytes(source: RangeReader) -> None | Damage:
    """A file of no known format: only looked at to see that it can be read at all."""
    source.read(0, 1)
    return None
