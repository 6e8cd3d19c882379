"""Valid inputs of each reader, for the fuzzer to begin with."""

import gzip
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from audit.api import verify
from audit.formats.torch_archive import TorchArchive, read_torch
from audit.ledger import batch_events, events
from audit.ledger.store import open_ledger
from audit.options import Options
from audit.storage import BytesReader
from audit.testing.runs import make_run
from tests.dcp import make_sharded
from tests.fuzz.readers import PICKLED, run_of_files
from tests.zero import make_zero

_WHOLE = {
    "archive": ("scheduler.pt", "scaler.pt"), "state": ("trainer_state.json",), "json": ("adapter_config.json",),
    "safetensors": ("adapter_model.safetensors",),
}  # fmt: skip
_PICKLES = {
    "optimizer": ("optimizer.pt",), "scheduler": ("scheduler.pt",), "scaler": ("scaler.pt",), "rng": ("rng_state.pth",),
    "arguments": ("training_args.bin",), "pickle": ("optimizer.pt", "scheduler.pt", "training_args.bin"),
}  # fmt: skip
_TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
_DATA: tuple[list[dict[str, Any]], ...] = (
    [{"text": "A sentence."}, {"text": "\u00e9\u4e2d", "other": None}],
    [{"messages": _TURNS, "tools": [{"type": "function"}]}],
    [{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]}],
    [{"instruction": "a", "input": "b", "output": "c"}],
    [{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "c"}],
    [{"prompt": "a", "completion": "b"}],
    [{"prompt": _TURNS[:1], "completion": _TURNS[1:]}],
    [{"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}, {"input_ids": [4], "labels": [4]}],
)
_TOKENS = (
    b"hf_aB3dE6gH9jK2mN5pQ8sT1vW4",
    b'OPENAI_API_KEY="aB3dE6gH9jK2mN5pQ8sT1vW4yZ7aB3dE6gH9"',
    b"-----BEGIN PRIVATE KEY-----",
)
_EVENTS: tuple["events.Event", ...] = (
    events.Start(20),
    batch_events.LegBegun("a", "a.jsonl", 9, 0, 20, 0, 80, 4, 1, "42:a", 42, 40, None, 1, None, {"kind": "random"}),
    batch_events.Finished("a", "a.jsonl", 0, 20, 80, "checkpoint-20", ((10, 2.5), (20, 2.25)), 0.5),
    batch_events.Retired("a", "a.jsonl", "done/a.jsonl"),
    batch_events.LegBegun("b", "b.jsonl", 9, 20, None, 0, None, None, 1, None, 42, None, None, 2, "checkpoint-20"),
    batch_events.Stopped("b", "b.jsonl", 30, 15, ((25, 2.0),)),
    batch_events.Failed("b", "b.jsonl", 30, "error", "it burns"),
    batch_events.Rejected("b", "b.jsonl", "is not JSON", "rejected/b.jsonl"),
    batch_events.Duplicate("a", "c.jsonl", "was trained"),
    batch_events.Lost("a", "a.jsonl", 20),
    events.Quarantined("moved", "checkpoint-20", ".audit/quarantine/checkpoint-20", "broken", 0),
    events.Pruned("checkpoint-20", 20, 100),
    events.SnapshotTaken("checkpoint-20", "/data/run", "copy"),
)


def seeds(name: str) -> Iterator[bytes]:
    """Yield valid inputs of a reader."""
    if name in _WHOLE:
        yield from map(_file, _WHOLE[name])
    elif name in _PICKLES:
        yield from map(_pickle, _PICKLES[name])
    elif name == "rows":
        for rows in _DATA:
            lines = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
            yield from (lines, json.dumps(rows, indent=1).encode(), gzip.compress(lines, mtime=0))
    elif name == "parquet":
        yield from map(_parquet, _DATA)
    elif name == "credentials":
        yield from _TOKENS
    elif name == "ledger":
        yield from (_ledger(event.row() for event in _EVENTS), _ledger(_recorded()[0]))
    elif name == "dcp":
        yield from _sharded()
    elif name == "zero":
        yield from _divided()
    elif name == "run":
        run, names = run_of_files()
        for number, file in enumerate(names):
            content = Path(run, "checkpoint-40", file).read_bytes()
            yield bytes([number]) + (_main(content) if file.endswith(PICKLED) else content)
    elif name == "remembered":
        yield from _recorded()[1]


@cache
def _checkpoint() -> str:
    return os.path.join(make_run(os.path.join(tempfile.mkdtemp(), "run"), (20,), layers=1, fp16=True), "checkpoint-20")


def _file(name: str) -> bytes:
    with open(os.path.join(_checkpoint(), name), "rb") as source:
        return source.read()


def _sharded() -> Iterator[bytes]:
    run = make_sharded(os.path.join(tempfile.mkdtemp(), "run"), (20,))
    yield from (path.read_bytes() for path in sorted(run.rglob(".metadata")))


def _divided() -> Iterator[bytes]:
    for stage in (2, 3):
        run = make_zero(os.path.join(tempfile.mkdtemp(), "run"), (20,), stage=stage)
        yield from (_main(path.read_bytes()) for path in sorted(run.rglob("*states.pt")))


def _pickle(name: str) -> bytes:
    return _main(_file(name))


def _main(data: bytes) -> bytes:
    """The pickle of a torch archive."""
    found = read_torch(BytesReader(data))
    assert isinstance(found, TorchArchive)
    main = found.records["data.pkl"]
    return data[main.offset : main.offset + main.size]


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def _ledger(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> bytes:
    return json.dumps({f"{kind}-{number}": content for number, (kind, content) in enumerate(rows)}).encode()


@cache
def _recorded() -> tuple[list[tuple[str, Mapping[str, Any]]], list[bytes]]:
    """The rows of the ledger of a sealed run, and the texts that it remembers."""
    run = make_run(os.path.join(tempfile.mkdtemp(), "run"), (20, 40), layers=1)
    verify(run, Options(settle_seconds=0))
    ledger = open_ledger(run, write=False)
    assert ledger is not None
    try:
        rows = [(row.kind, row.content) for row in ledger.rows()]
        return rows, [text.encode() for _, text in ledger.scans().values()]
    finally:
        ledger.close()
