"""The readers as functions of bytes, and what holds for any bytes: they give a value or a Damage, and never raise."""

import json
import os
import tempfile
from collections.abc import Callable
from functools import cache
from typing import Any

from audit.api import verify
from audit.backend.training import BadData
from audit.data.rows import count_rows, inspect
from audit.formats.damage import Damage
from audit.formats.dcp import faults, read_sections, shard_metadata_in
from audit.formats.json_text import check_json, parse_json, weight
from audit.formats.optimizer import OptimizerState, read_optimizer
from audit.formats.pickles import Pickle, load_pickle
from audit.formats.rng import read_rng
from audit.formats.safetensors import read_index, read_safetensors
from audit.formats.scheduler import SchedulerState, read_scaler, read_scheduler
from audit.formats.torch_archive import TorchArchive, read_torch, scalar, storages, tensors
from audit.formats.trainer_state import StateDocument, read_trainer_state
from audit.formats.training_args import read_training_args
from audit.formats.zero import empty_in, engine_in, flat_tensors_in, flat_weights_in, module_in, partition_in
from audit.judging import memory, outcome_text
from audit.ledger.records import ended_early_by, last_read_by, pruned_of, quarantined_by, reached_by
from audit.ledger.scans import scan_from, scan_text
from audit.ledger.seals import seals_of
from audit.ledger.store import Row
from audit.ledger.timeline_rows import timeline_of
from audit.options import Options
from audit.storage import BytesReader
from audit.testing.judging import registry
from audit.testing.runs import make_run
from audit.testing.torch_files import zip_bytes
from audit.text import credentials
from audit_rules.scheduler._needs import lacks

Reader = Callable[[bytes], object]
PICKLED = (".pt", ".pth", ".bin")
"""Files that are torch archives: the fuzzer changes the pickle in them, as their checksums would end every attempt."""


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


def _data_file(data: bytes, name: str) -> object:
    """A data file: if its rows can be read they can be counted; what is wrong with one is told in one short line."""
    with tempfile.TemporaryDirectory() as home:
        path = os.path.join(home, name)
        with open(path, "wb") as file:
            file.write(data)
        found, counted = _attempt(inspect, path), _attempt(count_rows, path)
        if isinstance(found, BadData):
            assert str(found).isprintable(), found
            assert len(found.reason) < 1000, found
        else:
            # Counting reads the other columns, too, and one of them may be damaged.
            assert counted == found.count or (name.endswith(".parquet") and isinstance(counted, BadData)), counted
        return found


def _attempt(read: Callable[[str], Any], path: str) -> Any:
    try:
        return read(path)
    except BadData as bad:
        return bad


def _ledger(data: bytes) -> object:
    """Rows of a ledger by kind and number, JSON objects all: the store has checked that and their digests."""
    try:
        contents = json.loads(data)
    except (ValueError, RecursionError):
        return None
    kinds = contents.items() if isinstance(contents, dict) else ()
    rows = tuple(
        Row(number, "2026-11-26T12:00:00Z", kind.partition("-")[0], item)
        for number, (kind, item) in enumerate(kinds, 1)
        if isinstance(item, dict)
    )
    facts = (timeline_of, seals_of, last_read_by, pruned_of, reached_by, ended_early_by, quarantined_by)
    return [fact(rows) for fact in facts]


def _remembered(data: bytes) -> object:
    """What ``.audit`` remembers of earlier scans and verdicts."""
    text = data.decode(errors="replace")
    scan = scan_from(text, None)
    assert scan is None or scan_from(scan_text(scan), None) == scan, scan
    return scan, outcome_text.document_from(text), memory._parsed(text)


def _dcp(data: bytes) -> object:
    """``.metadata`` of a sharded state, and the items of a shard file where it says that they are."""
    pickle = load_pickle(data)
    found = shard_metadata_in(pickle) if isinstance(pickle, Pickle) else pickle
    if isinstance(found, Damage):
        return found
    return found.least_ranks, list(faults(found)), read_sections(archive_of(b"\x80\x02N."), found.items, strict=True)


def _zero(data: bytes) -> object:
    """A file of DeepSpeed: the engine's or a partition, whatever it is taken for."""
    found = read_torch(archive_of(data))
    if isinstance(found, Damage):
        return found
    read = (engine_in, partition_in, module_in, empty_in, flat_weights_in, flat_tensors_in)
    return [part(found) for part in read]


@cache
def run_of_files() -> tuple[str, tuple[str, ...]]:
    """A small run, and the files of its newest checkpoint, by name."""
    run = make_run(os.path.join(tempfile.mkdtemp(), "run"), (20, 40), layers=1, fp16=True, best=True)
    return run, tuple(sorted(os.listdir(os.path.join(run, "checkpoint-40"))))


def _verified(data: bytes) -> object:
    """A run in which one file, chosen by the first byte, is the others, or an archive of them: no rule crashes."""
    run, names = run_of_files()
    name = names[data[0] % len(names)] if data else names[0]
    path = os.path.join(run, "checkpoint-40", name)
    content = archive_of(data[1:]).read(0, 1 << 20) if name.endswith(PICKLED) else data[1:]
    with open(path, "rb") as file:
        sound = file.read()
    try:
        with open(path, "wb") as file:
            file.write(content)
        report = verify(run, Options(ledger=False, settle_seconds=0), registry=registry())
    finally:
        with open(path, "wb") as file:
            file.write(sound)
    assert report.crashed == (), report.crashed
    return report


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
    "rows": lambda data: _data_file(data, "a.jsonl"),
    "parquet": lambda data: _data_file(data, "a.parquet"),
    "ledger": _ledger,
    "remembered": _remembered,
    "credentials": lambda data: list(credentials(data)),
    "dcp": _dcp,
    "zero": _zero,
    "run": _verified,
}
