"""One file of a checkpoint: what it is by its name, and its contents, read once and safely."""

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from audit.errors import NotApplicable
from audit.facts.fact import Facts, fact
from audit.formats.damage import Damage, Kind
from audit.formats.intake import read_whole
from audit.storage import FILE, Entry, RangeReader, Storage

if TYPE_CHECKING:
    from audit.formats.safetensors import Safetensors
    from audit.formats.torch_archive import TorchArchive


class FileFormat(StrEnum):
    """What a file is by its name; ``TORCH`` is a zip archive of ``torch.save``, ``PICKLE`` a bare pickle."""

    JSON = "json"
    SAFETENSORS = "safetensors"
    TORCH = "torch"
    PICKLE = "pickle"
    OTHER = "other"


JSON_LIMIT = 64 << 20
"""Bytes. The largest JSON file that a checkpoint really holds is a tokenizer of some 35 MB."""

JSON_QUICK = 1 << 20
"""Bytes. A larger JSON file that no rule reads (a tokenizer) is parsed at full depth only."""

TEXT_LIMIT = 1 << 20
"""Bytes. A longer text is a vocabulary or data, not something that a person or a configuration wrote."""

FORMATS = {
    ".json": FileFormat.JSON,
    ".safetensors": FileFormat.SAFETENSORS,
    ".pt": FileFormat.TORCH,
    ".pth": FileFormat.TORCH,
    ".bin": FileFormat.TORCH,
    ".pkl": FileFormat.PICKLE,
    ".pickle": FileFormat.PICKLE,
}

METADATA = ".metadata"
"""The metadata of a sharded state (torch.distributed.checkpoint): a bare pickle, which torch loads as it is.

The whole name: ``optimizer.pt.metadata`` below ``.cache/huggingface/`` is three lines of text of huggingface_hub.
"""

TEXTS = frozenset(
    {".json", ".jsonl", ".txt", ".md", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".env", ".sh", ".py", ".log", ".jinja"}
)
"""Endings of files that are text; a name without an ending is text, too (``latest``)."""

PLACEHOLDER_SUFFIXES = (".REMOVED.git-id", ".part_aa", ".partaa", ".part-aa")
"""What history cleaners and ``split`` leave in place of a file; no loader finds them."""


class File(Facts):
    """One file; ``path`` is relative to the checkpoint, ``entry`` carries the path relative to the run.

    ``every_header`` has the local header of every record in a torch archive compared with the archive's directory.
    """

    def __init__(self, storage: Storage, path: str, entry: Entry, every_header: bool = False) -> None:
        self._storage = storage
        self._every_header = every_header
        self.path = path
        self.entry = entry
        self.format = (
            FileFormat.PICKLE if entry.name == METADATA else FORMATS.get(_ending(entry.name), FileFormat.OTHER)
        )

    @property
    def stands_in_for(self) -> str | None:
        """Path of the file that this one was left in place of, by its name: ``optimizer.pt.REMOVED.git-id``."""
        for suffix in PLACEHOLDER_SUFFIXES:
            if self.path.endswith(suffix):
                return self.path.removesuffix(suffix)
        return None

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
        """The contents by format: a JSON value, Safetensors, a TorchArchive, a Pickle, None for others; or a Damage."""
        if self.format == FileFormat.JSON:
            from audit.formats.json_text import read_json

            return self.read(read_json, JSON_LIMIT)
        if self.format == FileFormat.SAFETENSORS:
            from audit.formats.safetensors import read_safetensors

            return self.read(read_safetensors)
        if self.format == FileFormat.TORCH:
            from audit.formats.torch_archive import read_torch

            return self.read(read_torch, self._every_header)
        if self.format == FileFormat.PICKLE:
            return self.read(_bare_pickle)
        return self.read(_first_bytes)

    @fact
    def digest(self) -> str:
        """BLAKE3 of a JSON file in hexadecimal, for quick depth; others are left to the scan. Raises NotApplicable."""
        from blake3 import blake3

        data = self.read(read_whole, JSON_LIMIT) if self.format == FileFormat.JSON else None
        if not isinstance(data, bytes):
            raise NotApplicable(f"{self.path} is not read at this depth")
        return blake3(data).hexdigest()

    @property
    def text(self) -> bytes:
        """The bytes of a text file of at most TEXT_LIMIT bytes; not kept, there may be many. Raises NotApplicable."""
        name = self.entry.name
        if name[name.rfind(".") :].lower() not in TEXTS and "." in name:
            raise NotApplicable(f"{self.path} is not a text file")
        if self.entry.size > TEXT_LIMIT:
            raise NotApplicable(f"{self.path} is too long to be looked through")
        data = self.read(read_whole, TEXT_LIMIT)
        if isinstance(data, Damage):
            raise NotApplicable(f"{self.path} {data.message}")
        return data  # type: ignore[no-any-return]

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

    def span_name(self, tensor: str) -> str:
        """Return the name under which the scan has the bytes of a tensor: several may share one torch storage."""
        return f"data/{self.archive.value[tensor].storage}" if self.format == FileFormat.TORCH else tensor

    @property
    def archive(self) -> "TorchArchive":
        """The directory and values of a torch file. Raises NotApplicable."""
        return self.value  # type: ignore[no-any-return]


def _ending(name: str) -> str:
    """The last suffix; "._NAME" is what macOS puts beside NAME on a foreign disk: attributes, whatever its ending."""
    return name[name.rfind(".") :].lower() if "." in name and not name.startswith("._") else ""


def _first_bytes(source: RangeReader) -> Damage | None:
    """A file of no known format: only looked at to see that it can be read at all."""
    source.read(0, 1)
    return None


def _bare_pickle(source: RangeReader) -> Any:
    """A Pickle, a TorchArchive (``torch.save`` takes any name) or a Damage."""
    from audit.formats.pickles import MAX_BYTES, load_pickle
    from audit.formats.torch_archive import read_torch

    if source.read(0, 4) == b"PK\3\4":
        return read_torch(source)
    data = read_whole(source, MAX_BYTES)
    return data if isinstance(data, Damage) else load_pickle(data)
