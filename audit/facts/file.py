"""One file of a checkpoint: what it is by its name, and its contents, read once and safely."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.errors import NotApplicable
from audit.facts.allowance import BYTES_PER_UNIT, FREE, Allowance
from audit.facts.fact import Facts, fact
from audit.facts.shared import Shared
from audit.formats.damage import Damage, Kind
from audit.formats.intake import read_whole
from audit.storage import FILE, BytesReader, Entry, RangeReader, Storage
from audit.text import credentials

if TYPE_CHECKING:
    from audit.formats.safetensors import Safetensors
    from audit.formats.torch_archive import TorchArchive
    from audit.formats.training_args import TrainingArguments


class FileFormat(StrEnum):
    """What a file is by its name; ``TORCH`` is a zip archive of ``torch.save``, ``PICKLE`` a bare pickle."""

    JSON = "json"
    SAFETENSORS = "safetensors"
    TORCH = "torch"
    PICKLE = "pickle"
    OTHER = "other"


JSON_LIMIT = 64 << 20
"""Bytes. The largest JSON file that a checkpoint really holds is a tokenizer of some 35 MB."""

JSON_CHECKED = 64 << 10
"""Bytes. A larger JSON file is checked without keeping its document, unless a rule asks for it."""

TOO_MUCH = Damage(Kind.OVERSIZED, "would take, with the files read before it, more memory than those of any real run")

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
    ".ckpt": FileFormat.TORCH,
    ".pkl": FileFormat.PICKLE,
    ".pickle": FileFormat.PICKLE,
}

METADATA = ".metadata"
"""The metadata of a sharded state (torch.distributed.checkpoint): a bare pickle, which torch loads as it is.

The whole name: ``optimizer.pt.metadata`` below ``.cache/huggingface/`` is three lines of text of huggingface_hub.
"""

_RANK_METADATA = re.compile(r"__([0-9]{1,6})\.metadata", re.ASCII)
"""What each process writes instead if it saved without the others: ``dcp.save(use_collectives=False)``."""

TEXTS = frozenset(
    {".json", ".jsonl", ".txt", ".md", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".env", ".sh", ".py", ".log", ".jinja"}
)
"""Endings of files that are text; a name without an ending is text, too (``latest``)."""

ARGUMENTS = "arguments"
"""What the training arguments are called in what is kept once."""

PLACEHOLDER_SUFFIXES = (".REMOVED.git-id", ".part_aa", ".partaa", ".part-aa")
"""What history cleaners and ``split`` leave in place of a file; no loader finds them."""


SMALL = 32 << 10
"""Bytes. A file of at most this size is read at once."""

SHORT = 1 << 10
"""Bytes. A text of at most this length is kept: the name that a file ``latest`` holds."""

# Words and numbers by the hundred thousand, in which any pattern comes up by chance.
_VOCABULARIES = (
    "tokenizer", "vocab", "merges", "added_tokens", "special_tokens_map", "normalizer", "spiece", "sentencepiece", "bpe"
)  # fmt: skip


def is_vocabulary(name: str) -> bool:
    """Whether a file of this name holds words rather than settings."""
    return name != "tokenizer_config.json" and name.lower().startswith(_VOCABULARIES)


class Opened(NamedTuple):
    """What was taken of a file while it was open: its ``content`` by format, or the Damage of that.

    ``arguments`` are the training arguments, if the file is for them. ``secrets`` are what looks like one in a text,
    ``text`` is a short one itself, or its Damage.
    """

    content: Any
    arguments: Any
    secrets: tuple[str, ...]
    text: bytes | Damage | None


class File(Facts):
    """One file; ``path`` is relative to the checkpoint, ``entry`` carries the path relative to the run.

    ``every_header`` has the local header of every record in a torch archive compared with the archive's directory.
    ``holds_arguments``: the trainer keeps its training arguments in it. ``weights_at``: where in it the weights are, if
    it holds more than them.

    It is opened and parsed at the first question, whatever that is, and everything is taken then.
    """

    def __init__(
        self,
        storage: Storage,
        path: str,
        entry: Entry,
        every_header: bool = False,
        holds_arguments: bool = False,
        allowance: Allowance | None = None,
        shared: Shared | None = None,
        weights_at: Sequence[str | int] = (),
    ) -> None:
        self._storage = storage
        self._allowance = allowance or Allowance()
        self._shared = shared or Shared()
        self._taken = 0
        self.kept = 0
        """Bytes of memory, about, of the training arguments in it, which outlast it."""
        self.weight = 0
        """Bytes of memory, about, of its contents."""
        self._every_header = every_header
        self._holds_arguments = holds_arguments
        self._weights_at = weights_at
        self.path = path
        self.entry = entry
        self.format = (
            FileFormat.PICKLE if is_metadata(entry.name) else FORMATS.get(_ending(entry.name), FileFormat.OTHER)
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
                small = source.size <= SMALL  # then one call of the system instead of a dozen
                return reader(BytesReader(source.read(0, SMALL)) if small else source, *arguments)
        except OSError as error:
            return Damage(Kind.UNREADABLE, f"cannot be read: {error.strerror or error}")

    def open(self) -> Any:
        """Open for the scan. Raises OSError."""
        return self._storage.open(self.entry.path)

    @fact
    def _opened(self) -> "Opened | Damage":
        return self.read(self._take)  # type: ignore[no-any-return]

    def _take(self, source: RangeReader) -> "Opened":
        """Take everything that any rule asks of the file while it is open."""
        text = read_whole(source, JSON_LIMIT) if self.format == FileFormat.JSON or self._is_text else None
        content = self._parsed(source, text)
        arguments = None
        if self._holds_arguments:
            from audit.formats.training_args import read_training_args

            archive = content if self.format == FileFormat.TORCH and not isinstance(content, Damage) else None
            arguments = read_training_args(source, archive)
            arguments = self._kept_arguments(arguments, archive.units if archive is not None else 0)
        if not self._is_text or not isinstance(text, bytes):
            return Opened(content, arguments, (), text if isinstance(text, Damage) else None)
        return Opened(content, arguments, tuple(credentials(text)), text if len(text) <= SHORT else None)

    def _parsed(self, source: RangeReader, text: bytes | Damage | None) -> Any:
        if self.format == FileFormat.JSON:
            from audit.formats.json_text import MOST_MEMORY, check_json

            if isinstance(text, bytes) and len(text) > JSON_CHECKED:
                return check_json(text, MOST_MEMORY)
            return self._parsed_json(text) if isinstance(text, bytes) else text
        if self.format == FileFormat.SAFETENSORS:
            from audit.formats.safetensors import read_safetensors

            return read_safetensors(source)
        if self.format == FileFormat.TORCH:
            from audit.formats.torch_archive import read_torch

            return self._kept(read_torch(source, self._every_header))
        if self.format == FileFormat.PICKLE:
            return self._kept(_bare_pickle(source, is_metadata(self.path)))
        source.read(0, 1)  # of no known format: only looked at to see that it can be read at all
        return None

    def _parsed_json(self, text: bytes) -> Any:
        from audit.formats.json_text import parse_json, weight

        found = parse_json(text)
        return found if isinstance(found, Damage) or self._fits(weight(text)) else TOO_MUCH

    def _kept_arguments(self, arguments: Any, units: int) -> Any:
        """Training arguments if there is memory for them to the end; equal ones are one value for the whole run."""
        if not self._shared.has(ARGUMENTS, arguments):
            self.kept = BYTES_PER_UNIT * units
            if not self._allowance.keep(self.kept):
                return TOO_MUCH
        return self._shared.once(ARGUMENTS, arguments)

    def _fits(self, size: int) -> bool:
        """Whether there is memory for contents of this size; then it is taken, until they are forgotten."""
        taken = self._allowance.take(size)
        if taken:
            self.weight += size
            self._taken += max(0, size - FREE)
        return taken

    def _kept(self, content: Any) -> Any:
        """The contents of a pickle if there is memory for them."""
        return content if isinstance(content, Damage) or self._fits(BYTES_PER_UNIT * content.units) else TOO_MUCH

    @fact
    def document(self) -> Any:
        """The document of a JSON file of any size, or a Damage."""
        if self.entry.size <= JSON_CHECKED or isinstance(self.content, Damage):
            return self.content
        text = self.read(read_whole, JSON_LIMIT)
        return self._parsed_json(text) if isinstance(text, bytes) else text

    @property
    def content(self) -> Any:
        """The contents by format: a JSON value, Safetensors, a TorchArchive, a Pickle, None for others; or a Damage.

        A larger JSON file is only checked, and None if it is valid: hardly any rule needs a tokenizer (``document``).
        """
        found = self._opened
        return found if isinstance(found, Damage) else found.content

    @property
    def arguments(self) -> "TrainingArguments | Damage":
        """The training arguments in the file, if that is what it is for."""
        found = self._opened
        return found if isinstance(found, Damage) else found.arguments

    def forget(self) -> None:
        """Drop what was parsed; whoever asks again opens the file again."""
        self.drop("_opened", "document")
        self._allowance.give(self._taken + FREE)
        self._taken = self.weight = 0

    @fact
    def digest(self) -> str:
        """BLAKE3 of a JSON file in hexadecimal, for quick depth; others are left to the scan. Raises NotApplicable."""
        from blake3 import blake3

        data = self.read(read_whole, JSON_LIMIT) if self.format == FileFormat.JSON else None
        if not isinstance(data, bytes):
            raise NotApplicable(f"{self.path} is not read at this depth")
        return blake3(data).hexdigest()

    @property
    def _is_text(self) -> bool:
        """Whether a person or a configuration wrote it, by its name and size."""
        name = self.entry.name
        ending = name[name.rfind(".") :].lower()
        return (ending in TEXTS or "." not in name) and self.entry.size <= TEXT_LIMIT and not is_vocabulary(name)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What looks like a token or a key in a text file of at most TEXT_LIMIT bytes, vocabularies left out."""
        found = self._opened if self.readable and self._is_text else None
        return found.secrets if isinstance(found, Opened) else ()

    @property
    def text(self) -> bytes:
        """The bytes of a text file of at most TEXT_LIMIT bytes; only a short one is kept. Raises NotApplicable."""
        if self.entry.size > TEXT_LIMIT:
            raise NotApplicable(f"{self.path} is too long to be looked through")
        if not self._is_text:
            raise NotApplicable(f"{self.path} is not a text file")
        found = self._opened
        data = found.text if isinstance(found, Opened) else found
        if data is None:
            data = self.read(read_whole, TEXT_LIMIT)
        if isinstance(data, Damage):
            raise NotApplicable(f"{self.path} {data.message}")
        return data

    @property
    def value(self) -> Any:
        """The contents; raises NotApplicable if they could not be read."""
        found = self.document if self.format == FileFormat.JSON else self.content
        if isinstance(found, Damage):
            raise NotApplicable(f"{self.path} {found.message}")
        return found

    @property
    def safetensors(self) -> "Safetensors":
        """The header of a safetensors file. Raises NotApplicable."""
        return self.value  # type: ignore[no-any-return]

    def span_name(self, tensor: str) -> str:
        """Return the name under which the scan has the bytes of a tensor: several may share one torch storage."""
        return f"data/{self.weights.value[tensor].storage}" if self.format == FileFormat.TORCH else tensor

    @property
    def archive(self) -> "TorchArchive":
        """The directory and values of a torch file. Raises NotApplicable."""
        return self.value  # type: ignore[no-any-return]

    @property
    def weights(self) -> "TorchArchive":
        """A torch file with the state dict of its weights as its value. Raises NotApplicable."""
        from audit.formats.torch_archive import part_of

        found = part_of(self.archive, self._weights_at)
        if isinstance(found, Damage):
            raise NotApplicable(f"{self.path} {found.message}")
        return found


def is_metadata(path: str) -> bool:
    """Whether a file is the metadata of a sharded state, or that of one process."""
    name = path.rpartition("/")[2]
    return name == METADATA or _RANK_METADATA.fullmatch(name) is not None


def rank_of_metadata(path: str) -> int | None:
    """The process whose parts alone a metadata names, None if it names those of all."""
    found = _RANK_METADATA.fullmatch(path.rpartition("/")[2])
    return int(found[1]) if found else None


def _ending(name: str) -> str:
    """The last suffix; "._NAME" is what macOS puts beside NAME on a foreign disk: attributes, whatever its ending."""
    return name[name.rfind(".") :].lower() if "." in name and not name.startswith("._") else ""


def _bare_pickle(source: RangeReader, metadata: bool) -> Any:
    """A Pickle, a TorchArchive (``torch.save`` takes any name) or a Damage.

    ``metadata`` of a sharded state may take more than other pickles: some 350 units for each part of a tensor, and a
    hundred processes save a hundred parts of each.
    """
    from audit.formats.pickle_calls import MOST_UNITS
    from audit.formats.pickles import MAX_BYTES, load_pickle
    from audit.formats.torch_archive import read_torch

    if source.read(0, 4) == b"PK\3\4":
        return read_torch(source)
    data = read_whole(source, MAX_BYTES)
    return data if isinstance(data, Damage) else load_pickle(data, units=MOST_UNITS if metadata else 0)
