"""The identity of the base model: what tells it from another one under the same name or path. Needs no torch.

Read are the configuration and the tensors of the files that ``from_pretrained`` would load, from a directory or the
cache of the Hub; nothing is downloaded. A model of at most WHOLE bytes is read whole, of a larger one the beginning of
each tensor.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from typing import Any, BinaryIO, NamedTuple

from audit.plugin import Damage, Size, read_safetensors
from audit_hf_trainer.settings import TINY_MODEL

WHOLE = 64 << 20
"""Bytes of weights that are read whole; of more, about as many are read."""

ROOM = 64 << 20
"""Bytes of the files beside weights and states: tokenizer, state with its log, random states."""
LARGEST_RANK = 1024

LEAST = 256
"""Bytes that are read of each tensor at least."""

JSON_LIMIT = 64 << 20
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLE = ("model.safetensors", "pytorch_model.bin")
NOISE = frozenset({"transformers_version", "_name_or_path", "_commit_hash"})
"""Keys of config.json that change when the same model is saved again."""
_COMMIT = re.compile(r"models--[^/]+/snapshots/([0-9a-f]{7,64})(?:/|$)")


def base_identity(settings: Mapping[str, Any], seed: int) -> Mapping[str, str]:
    """Return the identity as texts by name.

    ``kind`` is "random" or "pretrained", ``name`` a path or a name on the Hub, which says where it came from and not
    what it is. Random weights are determined by the fields of the model, ``random.NAME``, and
    ``seed``. Of a pretrained model: ``dtype``, ``quantization``, ``commit`` if the cache of the Hub has it, and the
    digests of its ``config``, of the names, types and shapes of its ``tensors`` and of its ``weights``. What cannot be
    read, or is not downloaded yet, is missing.
    """
    model = settings.get("model", {})
    if "random" in model:
        fields = {f"random.{name}": _text(value) for name, value in {**TINY_MODEL, **model["random"]}.items()}
        return {"kind": "random", "seed": str(seed), **fields}
    name = str(model.get("name_or_path", ""))
    found = {"kind": "pretrained", "name": name, "dtype": str(model.get("dtype", "auto"))}
    if model.get("quantization"):
        found["quantization"] = _text(model["quantization"])
    place = _place(name, model)
    if place is None:
        return found
    if (commit := _COMMIT.search(place.replace(os.sep, "/"))) is not None:
        found["commit"] = commit[1]
    with suppress(OSError, ValueError, RecursionError):  # training reports that it cannot be loaded
        found.update(_of_directory(place))
    return found


def base_directory(settings: Mapping[str, Any]) -> str | None:
    """Return the directory that the model would be loaded from, None if neither a path nor the cache has it."""
    model = settings.get("model", {})
    return _place(str(model.get("name_or_path", "")), model)


def largest_checkpoint(settings: Mapping[str, Any]) -> "Size | None":
    """Return a size that no checkpoint exceeds, None if the model is not there or is quantized.

    A number takes at least one byte in an unquantized file, and 16 bytes in a checkpoint: its weight and an optimizer's
    state. LoRA of a rank below both sides of a matrix adds at most twice its numbers.
    """
    model = settings.get("model", {})
    if "quantization" in model or int((settings.get("adapter") or {}).get("r", 0)) > LARGEST_RANK:
        return None
    if "random" in model:
        numbers = _numbers_of({**TINY_MODEL, **model["random"]})
    else:
        place = _place(str(model.get("name_or_path", "")), model)
        try:
            files = weight_files(place) if place is not None else []
            numbers = sum(os.path.getsize(os.path.join(place or "", name)) for name in files)
        except (OSError, ValueError):
            return None
    return Size(3 * numbers * 16 + ROOM, 64) if numbers else None


def _numbers_of(shape: Mapping[str, Any]) -> int:
    """Return how many numbers a Llama of this shape has at most."""
    try:
        hidden, inner, layers, words = (
            int(shape[name]) for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size")
        )
    except (KeyError, TypeError, ValueError):
        return 0
    return 2 * words * hidden + layers * (8 * hidden * hidden + 3 * hidden * inner + 8 * hidden) + hidden


def _place(name: str, model: Mapping[str, Any]) -> str | None:
    """The directory that the model would be loaded from, None if the cache does not have it."""
    folder = str(model.get("options", {}).get("subfolder", ""))
    if os.path.isdir(name):
        return os.path.join(name, folder) if folder else name
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "huggingface"
    )
    hub = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    cache = os.path.join(
        os.path.expanduser(str(model.get("options", {}).get("cache_dir", hub))), f"models--{name.replace('/', '--')}"
    )
    revision = str(model.get("revision", "main"))
    try:
        with open(os.path.join(cache, "refs", revision), encoding="ascii") as file:
            commit = file.read(64).strip()
    except (OSError, ValueError):
        commit = revision
    place = os.path.join(cache, "snapshots", commit, folder) if folder else os.path.join(cache, "snapshots", commit)
    return place if re.fullmatch("[0-9a-f]{7,64}", commit) and os.path.isdir(place) else None


class _Reader:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size

    def read(self, offset: int, length: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(length)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        data = self.read(offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Part(NamedTuple):
    """A tensor, or a file whose tensors are not looked at: its text, the file and where it is in it."""

    text: str
    path: str
    offset: int
    nbytes: int


def _of_directory(place: str) -> dict[str, str]:
    from blake3 import blake3

    found = {}
    config = _json(os.path.join(place, "config.json"))
    if isinstance(config, dict):
        kept = {key: value for key, value in config.items() if key not in NOISE}
        if "torch_dtype" in kept:  # what transformers 4 calls dtype
            kept["dtype"] = kept.pop("torch_dtype")
        found["config"] = blake3(_text(kept).encode()).hexdigest()
    parts = sorted(part for path in weight_files(place) for part in _parts(place, path))
    if parts:
        total = sum(part.nbytes for part in parts)
        share = total if total <= WHOLE else max(LEAST, WHOLE // len(parts))
        names, weights = blake3(), blake3()
        with ExitStack() as stack:
            files = {path: stack.enter_context(open(path, "rb")) for path in {part.path for part in parts}}
            for part in parts:
                names.update(f"{part.text}\n".encode())
                weights.update(_Reader(files[part.path], 0).read(part.offset, min(share, part.nbytes)))
        found.update(tensors=names.hexdigest(), weights=weights.hexdigest())
    return found


def weight_files(place: str) -> list[str]:
    """The files of weights, in the order in which transformers looks for them."""
    for single, index in zip(SINGLE, INDEXES, strict=True):
        if os.path.isfile(os.path.join(place, single)):
            return [single]
        document = _json(os.path.join(place, index))
        names = document.get("weight_map") if isinstance(document, dict) else None
        if isinstance(names, dict):
            files = {os.path.basename(str(name)) for name in names.values()}
            return sorted(name for name in files if os.path.isfile(os.path.join(place, name)))
    return []


def _parts(place: str, name: str) -> Iterator[_Part]:
    path = os.path.join(place, name)
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        found = read_safetensors(_Reader(file, size)) if name.endswith(".safetensors") else None
    if found is None or isinstance(found, Damage):
        yield _Part(f"{name} {size}", path, 0, size)
        return
    for tensor in found.tensors.values():
        yield _Part(f"{tensor.name} {tensor.dtype} {list(tensor.shape)}", path, tensor.offset, tensor.nbytes)


def _json(path: str) -> Any:
    if not os.path.isfile(path) or os.path.getsize(path) > JSON_LIMIT:
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
