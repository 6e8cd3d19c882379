"""Ways to damage the files of a checkpoint. Everything here changes a copy that the test made."""

import json
import os
from collections.abc import Callable
from typing import Any, NamedTuple

ADAPTER = "adapter_model.safetensors"
STATE = "trainer_state.json"


def cut(path: str, size: int) -> None:
    """Leave the first ``size`` bytes, or all but the last ``-size``."""
    os.truncate(path, size if size >= 0 else os.path.getsize(path) + size)


def overwrite(path: str, offset: int, data: bytes) -> None:
    """Write ``data`` at ``offset`` (from the end if negative); the size stays."""
    with open(path, "r+b") as file:
        file.seek(offset if offset >= 0 else os.path.getsize(path) + offset)
        file.write(data)


def flip(path: str, offset: int, bit: int) -> None:
    """Flip one bit."""
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ (1 << bit)]))


class New(NamedTuple):
    """What an edit returns that does not change the document in place."""

    document: Any


def _edited(document: Any, edit: Callable[[Any], Any]) -> Any:
    result = edit(document)
    return result.document if isinstance(result, New) else document


def edit_json(path: str, edit: Callable[[Any], Any]) -> None:
    """Load, edit in place (or return a New document), write as Trainer does."""
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    document = _edited(document, edit)
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(document, indent=2, sort_keys=True) + "\n")


def put(path: str, **values: Any) -> None:
    """Set keys of a JSON object."""
    edit_json(path, lambda document: document.update(values))


def edit_torch(path: str, edit: Callable[[Any], Any]) -> None:
    """Load with torch, edit, save with torch: the checksums of the archive are right again."""
    import torch

    document = torch.load(path, weights_only=False)
    document = _edited(document, edit)
    torch.save(document, path)


def edit_tensors(path: str, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Load a safetensors file, edit the dictionary of tensors, write it again."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    tensors = _edited(tensors, edit)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


def data_start(path: str) -> int:
    """Offset of the first tensor byte of a safetensors file."""
    with open(path, "rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


def tensor_span(path: str, part: str) -> tuple[int, int]:
    """Offset and length of the first tensor whose name holds ``part``."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    name = next(name for name in sorted(header) if part in name)
    first, last = header[name]["data_offsets"]
    return 8 + length + first, last - first


def record_span(path: str, number: int) -> tuple[int, int]:
    """Offset and length of storage ``data/<number>`` of a torch archive."""
    import zipfile

    with zipfile.ZipFile(path) as archive:
        info = next(item for item in archive.infolist() if item.filename.endswith(f"/data/{number}"))
    with open(path, "rb") as file:
        file.seek(info.header_offset + 26)
        name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
    return info.header_offset + 30 + name + extra, info.file_size


def pickle_offset(path: str, pattern: bytes) -> int:
    """Offset of ``pattern`` in the file."""
    with open(path, "rb") as file:
        found = file.read().find(pattern)
    assert found >= 0
    return found


def in_place_of(path: str, text: bytes) -> None:
    """Replace a file's contents."""
    with open(path, "wb") as file:
        file.write(text)


class Evil:
    """A pickled call. It would be executed by a loader that trusts the file."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call
