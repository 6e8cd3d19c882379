"""The readers as functions of bytes, and what holds for any bytes: they give a value or a Damage, and never raise."""

import os
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from audit.formats.damage import Damage
from audit.formats.json_text import check_json, parse_json, weight
from audit.formats.optimizer import OptimizerState, read_optimizer
from audit.formats.pickles import load_pickle
from audit.formats.rng import read_rng
from audit.formats.safetensors import read_index, read_safetensors
from audit.formats.scheduler import SchedulerState, read_scaler, read_scheduler
from audit.formats.torch_archive import TorchArchive, read_torch, scalar, storages, tensors
from audit.formats.trainer_state import StateDocument, read_trainer_state
from audit.formats.training_args import read_training_args
from audit.storage import BytesReader
from audit.testing.runs import make_run
from audit.testing.torch_files import zip_bytes
from audit_rules.scheduler._needs import lacks

Reader = Callable[[bytes], object]


def archive_of(data: bytes) -> BytesReader:
    """A torch archive with this pickle and four storages of 64 bytes."""
    records = {f"a/data/{key}": bytes(64) for key in range(4)}
    return BytesReader(zip_bytes({"a/data.pkl": data, "a/byteorder": b"little", **records, "a/version": b"3\n"}))


def _pickle(data: bytes) -> object:
    return load_pickle(data), load_pickle(data, trailing=True)


def _archive(data: bytes) -> object:
    reader = BytesReader(data)
    quick, found = read_torch(reader), read_torch(reader, strict=True)
    if isinstance(found, TorchArchive):
        assert isinstance(quick, TorchArchive), quick
        assert quick.records["data.pkl"] == found.records["data.pkl"]
        for ref in found.refs:
            scalar(reader, found, ref)
    return found, *([storages(found), tensors(found)] if isinstance(found, TorchArchive) else [])


def _optimizer(data: bytes) -> object:
    found = read_optimizer(archive_of(data))
    return found.highest_step if isinstance(found, OptimizerState) else found


def _scheduler(data: bytes) -> object:
    found = read_scheduler(archive_of(data))
    if not isinstance(found, SchedulerState):
        return found
    return [lacks(found, kind, groups) for kind in ("lambda", "plateau", "greedy", "other") for groups in (None, 1, 2)]


def _json(data: bytes) -> object:
    found, checked = parse_json(data), check_json(data, 48 << 20)
    # What the fast check takes is what the parser takes; the parser may find that it takes too much memory.
    assert weight(data) > 1 << 20 or isinstance(found, Damage) == (checked is not None), (found, checked)
    return found if isinstance(found, Damage) else read_index(found)


def _state(data: bytes) -> object:
    first = read_trainer_state(BytesReader(data))
    if not isinstance(first, StateDocument) or first.history is None:
        return first
    again = read_trainer_state(BytesReader(data), (first.history,))
    assert isinstance(again, StateDocument)
    assert again.history is not None
    assert len(again.history) == len(first.history)
    return again


READERS: dict[str, Reader] = {
    "pickle": _pickle,
    "archive": _archive,
    "optimizer": _optimizer,
    "scheduler": _scheduler,
    "scaler": lambda data: read_scaler(archive_of(data)),
    "rng": lambda data: read_rng(archive_of(data)),
    "arguments": lambda data: (read_training_args(archive_of(data)), read_training_args(BytesReader(data))),
    "state": _state,
    "json": _json,
    "safetensors": lambda data: read_safetensors(BytesReader(data)),
}
_FILES = {
    "optimizer": ("optimizer.pt",), "scheduler": ("scheduler.pt",), "scaler": ("scaler.pt",), "rng": ("rng_state.pth",),
    "arguments": ("training_args.bin",), "pickle": ("optimizer.pt", "scheduler.pt", "training_args.bin"),
    "archive": ("scheduler.pt", "scaler.pt"), "state": ("trainer_state.json",), "json": ("adapter_config.json",),
    "safetensors": ("adapter_model.safetensors",),
}  # fmt: skip


@cache
def _checkpoint() -> str:
    return os.path.join(make_run(os.path.join(tempfile.mkdtemp(), "run"), (20,), layers=1, fp16=True), "checkpoint-20")


def seeds(name: str) -> Iterator[bytes]:
    """Valid inputs of a reader."""
    for file in _FILES[name]:
        with open(os.path.join(_checkpoint(), file), "rb") as source:
            data = source.read()
        if name in ("archive", "state", "json", "safetensors"):
            yield data
            continue
        reader: Any = BytesReader(data)
        found = read_torch(reader)
        assert isinstance(found, TorchArchive)
        main = found.records["data.pkl"]
        yield data[main.offset : main.offset + main.size]
