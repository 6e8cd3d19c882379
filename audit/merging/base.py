"""The base model: a directory as ``save_pretrained`` writes it, or a snapshot in the cache of Hugging Face.

It is the user's own and trusted as far as its links are followed (a snapshot is links to blobs). Its files are read as
safely as those of a run: nothing is unpickled, and every header is checked against the size of its file.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.errors import AuditError
from audit.formats.damage import Damage
from audit.formats.intake import read_whole
from audit.formats.json_text import DEFAULT_LIMIT, parse_json
from audit.formats.safetensors import read_index, read_safetensors
from audit.formats.tensors import Tensor
from audit.merging.refusals import refuse
from audit.storage import ContextReader, LocalStorage

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")

_MOST_SHARDS = 10_000


class Shard(NamedTuple):
    """One file of weights: the bytes before its first tensor, its free text, its tensors in the order of the file."""

    name: str
    size: int
    head: bytes
    metadata: Mapping[str, str]
    tensors: tuple[Tensor, ...]


class Base(NamedTuple):
    """A base model; ``index_text`` is that of its index of shards, ``places`` has the shard of each tensor by name."""

    path: str
    config: Mapping[str, Any]
    index_text: bytes | None
    shards: tuple[Shard, ...]
    places: Mapping[str, tuple[Shard, Tensor]]

    def open(self, name: str) -> ContextReader:
        """Open one of its files. Raises OSError."""
        return open_followed(os.path.join(self.path, name))

    @property
    def tied(self) -> bool:
        """Whether the input embedding is the output layer, too, as the configuration says.

        Models for images and text say it in ``text_config``; if nothing is said, it depends on the model's class, and
        without an output layer in the files there is nothing else it could be.
        """
        for config in (self.config, self.config.get("text_config")):
            if isinstance(config, dict) and isinstance(config.get("tie_word_embeddings"), bool):
                return bool(config["tie_word_embeddings"])
        return not any(name.endswith("lm_head.weight") for name in self.places)


def open_followed(path: str) -> ContextReader:
    """Open a regular file, through links. Raises OSError; never blocks on a FIFO."""
    real = os.path.realpath(path)
    return LocalStorage(os.path.dirname(real)).open(os.path.basename(real))


def read_base(path: str) -> Base:
    """Read the configuration and the headers of a base model; no weights.

    Raises AuditError if it is not there or damaged, RefusedError if it is of a kind that is not merged into.
    """
    if not os.path.isdir(path):
        raise AuditError(f"--base {path}: is not the directory of a model, nor a name in the cache of the Hub")
    config = _parsed(path, CONFIG, _text(path, CONFIG))
    if not isinstance(config, dict):
        raise AuditError(f"{os.path.join(path, CONFIG)}: is not a JSON object")
    if config.get("quantization_config"):
        refuse(
            path,
            "is quantised, and merging into rounded weights ruins them",
            "give the model that it was quantised from with --base",
        )
    names, text, index = _weight_files(path)
    shards = tuple(_shard(path, name) for name in names)
    places: dict[str, tuple[Shard, Tensor]] = {}
    for shard in shards:
        for tensor in shard.tensors:
            if tensor.name in places:
                raise AuditError(f"{path}: {places[tensor.name][0].name} and {shard.name} both hold {tensor.name}")
            places[tensor.name] = (shard, tensor)
    if index is not None and index != {name: shard.name for name, (shard, _) in places.items()}:
        raise AuditError(f"{os.path.join(path, INDEX)}: does not name the tensors of its files; download it again")
    return Base(path, config, text, shards, places)


def _weight_files(path: str) -> tuple[list[str], bytes | None, Mapping[str, str] | None]:
    """The files of weights, the index and what it says; transformers looks for the single file first."""
    if os.path.exists(os.path.join(path, SINGLE)):
        return [SINGLE], None, None
    if not os.path.exists(os.path.join(path, INDEX)):
        if any(os.path.exists(os.path.join(path, name)) for name in PICKLED):
            refuse(
                path,
                "has its weights as pickles only, which are not read",
                "save it once as safetensors (from_pretrained, then save_pretrained)",
            )
        raise AuditError(f"{path}: has neither {SINGLE} nor {INDEX}; is this the base model?")
    text = _text(path, INDEX)
    found = read_index(_parsed(path, INDEX, text))
    if isinstance(found, Damage):
        raise AuditError(f"{os.path.join(path, INDEX)}: {found.message}")
    names = sorted(set(found.weight_map.values()))
    if len(names) > _MOST_SHARDS or any(os.path.basename(name) != name or not name for name in names):
        raise AuditError(f"{os.path.join(path, INDEX)}: names files outside of the model, or too many")
    return names, text, found.weight_map


def _text(path: str, name: str) -> bytes:
    place = os.path.join(path, name)
    try:
        with open_followed(place) as reader:
            found = read_whole(reader, DEFAULT_LIMIT)
    except OSError as error:
        raise AuditError(f"{place}: cannot be read: {error.strerror or error}") from error
    if isinstance(found, Damage):
        raise AuditError(f"{place}: {found.message}")
    return found


def _parsed(path: str, name: str, text: bytes) -> Any:
    found = parse_json(text)
    if isinstance(found, Damage):
        raise AuditError(f"{os.path.join(path, name)}: {found.message}")
    return found


def _shard(path: str, name: str) -> Shard:
    place = os.path.join(path, name)
    try:
        with open_followed(place) as reader:
            found = read_safetensors(reader)
            if isinstance(found, Damage):
                raise AuditError(f"{place}: {found.message}; download it again")
            tensors = tuple(found.tensors.values())
            first = tensors[0].offset if tensors else reader.size
            return Shard(name, reader.size, reader.read(0, first), found.metadata, tensors)
    except OSError as error:
        raise AuditError(f"{place}: cannot be read: {error.strerror or error}") from error
