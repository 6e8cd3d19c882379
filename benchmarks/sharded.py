"""Measure how FSDP's sharded states are read: speed beside a plain file of the same size, memory, many shards.

    python benchmarks/sharded.py [--mb 256] [--ranks 4] [--shards 1024] [--parameters 16]

Writes one tree after the other into a temporary directory, as torch.distributed.checkpoint does (each item a torch
archive of its own, the table in ``.metadata``), verifies each in a process of its own, and deletes it. ``full``: a
state of ``--mb``, at full depth, beside a ``model.safetensors`` of as many bytes. ``shards``: that many ranks, at quick
depth. Prints a Markdown table: seconds of the clock and of the processor, MB/s of the processor, the largest resident
memory. The files are in the page cache when they are read, if it is large enough. Needs torch.
"""

import argparse
import io
import json
import math
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import metadata as dcp
from torch.distributed.checkpoint.filesystem import _StorageInfo

from audit.testing.runs import make_run

STEP, RATE = 100, 1e-4
BLOCK = torch.randn(4_000_037, generator=torch.Generator().manual_seed(0)).abs_()
MODEL, OPTIMIZER = "pytorch_model_fsdp_0", "optimizer_0"


def write_state(
    folder: Path, tensors: dict[str, tuple[int, ...]], values: dict[str, Any], ranks: int, written: int
) -> None:
    """Write one directory; every rank has as many rows of each tensor. A 0-d tensor holds the step.

    The files of ranks from ``written`` on are hard links to those of the ranks 1 to ``written`` - 1.
    """
    folder.mkdir()
    listed: dict[str, Any] = {}
    stored: dict[Any, Any] = {}
    places: dict[int, list[tuple[str, Any]]] = {}
    properties = dcp.TensorProperties(dtype=torch.float32)
    chunks: dict[str, list[Any]] = {name: [] for name in tensors}
    for rank in range(ranks):
        path = folder / f"__{rank}_0.distcp"
        if rank >= written:
            like = 1 + (rank - 1) % (written - 1)
            os.link(folder / f"__{like}_0.distcp", path)
            for name, place in places[like]:
                rows = tensors[name][0] // ranks
                offset = torch.Size((rank * rows, *[0] * (len(tensors[name]) - 1)))
                chunks[name].append(dcp.ChunkStorageMetadata(offset, torch.Size((rows, *tensors[name][1:]))))
                stored[dcp.MetadataIndex(name, offset, rank)] = _StorageInfo(path.name, place.offset, place.length)
            continue
        with open(path, "wb") as file:
            for name, shape in tensors.items():
                if not shape and rank:
                    continue
                rows = shape[0] // ranks if shape else 0
                sizes, offsets = (rows, *shape[1:]) if shape else (), (rank * rows, *[0] * (len(shape) - 1))
                offset = torch.Size(offsets if shape else ())
                seed = zlib.crc32(f"{folder.name}/{name}/{rank}".encode())
                data = values_of(sizes, seed) if shape else torch.tensor(float(STEP))
                chunks[name].append(dcp.ChunkStorageMetadata(offset, torch.Size(sizes)))
                place = stored[dcp.MetadataIndex(name, offset, rank)] = _put(file, path.name, data)
                places.setdefault(rank, []).append((name, place))
            for name, value in values.items() if not rank else ():
                listed[name] = dcp.BytesStorageMetadata()
                stored[dcp.MetadataIndex(name)] = _put(file, path.name, value)
    for name, shape in tensors.items():
        listed[name] = dcp.TensorStorageMetadata(properties, torch.Size(shape), chunks[name])
    planned = {name: (name,) for name in listed}
    (folder / ".metadata").write_bytes(pickle.dumps(dcp.Metadata(listed, planned, stored)))


def _put(file: Any, name: str, value: Any) -> _StorageInfo:
    kept = io.BytesIO()
    torch.save(value, kept)
    start = file.tell()
    file.write(kept.getbuffer())
    return _StorageInfo(name, start, kept.tell())


def sharded(place: Path, megabytes: float, ranks: int, parameters: int, written: int) -> Path:
    """Write a run of one checkpoint: weights, and two moments of each parameter, in shards."""
    run = Path(make_run(place, (STEP,), world=ranks, schedule="constant", learning_rate=RATE))
    checkpoint = run / f"checkpoint-{STEP}"
    for name in os.listdir(checkpoint):
        if name not in ("trainer_state.json", "scheduler.pt") and not name.startswith("rng_state"):
            (checkpoint / name).unlink()
    columns = max(1, int(megabytes * 1e6 / 12 / parameters / ranks))
    shapes = {f"layers.{number}.weight": (ranks, columns) for number in range(parameters)}
    write_state(checkpoint / MODEL, {f"model.{name}": shape for name, shape in shapes.items()}, {}, ranks, written)
    tensors: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        top = f"optimizer.state.{name}"
        tensors |= {f"{top}.step": (), f"{top}.exp_avg": shape, f"{top}.exp_avg_sq": shape}
    values: dict[str, Any] = {}
    for group, names in enumerate((list(shapes), [])):
        values |= {f"optimizer.param_groups.{group}.lr": RATE, f"optimizer.param_groups.{group}.params": names}
    write_state(checkpoint / OPTIMIZER, tensors, values, ranks, written)
    return run


def plain(place: Path, megabytes: float, parameters: int) -> Path:
    """Write a run of one checkpoint whose weights are one safetensors file of this size, a tensor at a time."""
    run = Path(make_run(place, (STEP,), full=True))
    columns = max(1, int(megabytes * 1e6 / 4 / parameters))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for number in range(parameters):
        offsets = [4 * columns * number, 4 * columns * (number + 1)]
        header[f"layers.{number}.weight"] = {"dtype": "F32", "shape": [1, columns], "data_offsets": offsets}
    text = json.dumps(header).encode()
    with open(run / f"checkpoint-{STEP}" / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for number in range(parameters):
            file.write(memoryview(values_of((1, columns), number).numpy()).cast("B"))
    return run


def values_of(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Numbers that differ from tensor to tensor: a block of 16 MB, begun elsewhere each time and repeated."""
    count = math.prod(shape)
    start = seed * 7919 % len(BLOCK)
    times = -(-(count + start) // len(BLOCK))
    return BLOCK.repeat(times)[start : start + count].reshape(shape).clone()


PROGRAM = """
import sys
from audit.cli import main
try:
    main()
finally:
    status = open("/proc/self/status").read()
    print(status.partition("VmHWM:")[2].split()[0], file=sys.stderr)
"""


def measured(run: Path, depth: str) -> tuple[float, float, float]:
    """Verify in a process of its own: seconds of the clock, seconds of the processor, MB of memory at most.

    The process says how much memory it had: what ``wait4`` says includes that of this one, from which it was started.
    """
    command = [sys.executable, "-c", PROGRAM, "verify", str(run), "--depth", depth, "--no-ledger", "--no-cache"]
    begun = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    said = child.stderr.read()
    _, _, usage = os.wait4(child.pid, 0)
    return time.monotonic() - begun, usage.ru_utime + usage.ru_stime, float(said.split()[-1]) / 1e3


def size_of(run: Path) -> float:
    """MB of all files."""
    return sum(path.stat().st_size for path in run.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    """Write the trees, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=256)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--written", type=int, help="ranks with files of their own; those of the others are links")
    parser.add_argument("--shards", type=int, default=1024, help="ranks of the tree for quick depth")
    parser.add_argument("--parameters", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("full", "sharded", "shards"))
    parser.add_argument("--directory", help="where the trees are written (default: the temporary directory)")
    arguments = parser.parse_args()
    written = arguments.written or arguments.ranks
    home = Path(tempfile.mkdtemp(dir=arguments.directory))
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n")
    print("| tree | depth | MB | clock s | processor s | MB/s of processor | memory MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    try:
        cases: list[tuple[str, str, Callable[[Path], Path]]] = []
        if arguments.only in (None, "full"):
            cases.append(
                ("one safetensors file", "full", lambda place: plain(place, arguments.mb, arguments.parameters))
            )
        if arguments.only != "shards":
            cases.append(
                (
                    f"{arguments.ranks} ranks",
                    "full",
                    lambda place: sharded(place, arguments.mb, arguments.ranks, arguments.parameters, written),
                )
            )
        if arguments.only in (None, "shards"):
            cases.append(
                (
                    f"{arguments.shards} ranks",
                    "quick",
                    lambda place: sharded(place, 16, arguments.shards, 2, arguments.shards),
                )
            )
        for name, depth, make in cases:
            run = make(home / "run")
            clock, processor, memory = map(
                min, zip(*(measured(run, depth) for _ in range(arguments.rounds)), strict=True)
            )
            size = size_of(run)
            shutil.rmtree(run)  # a tree of 20 GB beside another would need 40
            row = (name, depth, f"{size:.0f}", f"{clock:.2f}", f"{processor:.2f}", f"{size / processor:.0f}")
            print(f"| {' | '.join(row)} | {memory:.0f} |", flush=True)
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
