"""Changes that several tests of this family make."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from audit.facts.run import Run
from audit.findings import Finding
from audit.formats.safetensors import Safetensors, read_safetensors
from audit.judging.engine import judge
from audit.manager import load
from audit.storage import BytesReader, ContextReader, Entry, LocalStorage
from audit.testing.json_files import safetensors_bytes
from audit.testing.runs import edit_json
from audit.testing.torch_files import FakeTensor

ADAPTER = "adapter_model.safetensors"
INDEX = "model.safetensors.index.json"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


def remove(run: str, *names: str, checkpoint: str = "checkpoint-200") -> None:
    for name in names:
        Path(run, checkpoint, name).unlink()


def add_adapter(run: str, name: str, steps: Iterable[int] = (100, 200, 300)) -> None:
    """Give checkpoints a second adapter in a sub-directory, as PEFT saves one that is not called ``default``."""
    for step in steps:
        place = Path(run, f"checkpoint-{step}")
        (place / name).mkdir()
        for file in (ADAPTER, "adapter_config.json"):
            (place / name / file).write_bytes((place / file).read_bytes())


def shard(checkpoint: Path, count: int = 3) -> list[str]:
    """Split ``model.safetensors`` into shards with an index; return the names of the shards."""
    whole = checkpoint / "model.safetensors"
    reader = BytesReader(whole.read_bytes())
    found = read_safetensors(reader)
    assert isinstance(found, Safetensors)
    parts: list[dict[str, FakeTensor]] = [{} for _ in range(count)]
    for number, tensor in enumerate(found.tensors.values()):
        data = reader.read(tensor.offset, tensor.nbytes)
        parts[number % count][tensor.name] = FakeTensor(tensor.dtype, tensor.shape, data)
    names = [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    for name, part in zip(names, parts, strict=True):
        (checkpoint / name).write_bytes(safetensors_bytes(part))
    (checkpoint / INDEX).write_text('{"metadata": {"total_size": 1}}')
    edit_json(
        checkpoint / INDEX, weight_map={tensor: n for n, part in zip(names, parts, strict=True) for tensor in part}
    )
    whole.unlink()
    return names


class Locked(LocalStorage):
    """A storage whose operating system refuses some paths (tests may run as root, whom no permission stops)."""

    def __init__(self, root: str, *refused: str) -> None:
        super().__init__(root)
        self.refused = refused

    def list(self, path: str) -> list[Entry]:
        self._refuse(path)
        return super().list(path)

    def open(self, path: str) -> ContextReader:
        self._refuse(path)
        return super().open(path)

    def _refuse(self, path: str) -> None:
        if path in self.refused:
            raise PermissionError(13, os.strerror(13), path)


def judged(run: str, storage: LocalStorage | None = None, **options: Any) -> list[Finding]:
    """All findings of this family, the run opened with another storage or other options."""
    registry = load()
    rules = [rule for rule in registry.rules if rule.family == "files"]
    opened = Run(run, storage or LocalStorage(run), registry.backend("hf-trainer"), **options)
    return list(judge(opened, rules).findings)


def names(findings: Iterable[Finding]) -> list[tuple[str, str | None, str | None]]:
    return [(finding.rule, finding.checkpoint, finding.file) for finding in findings]
