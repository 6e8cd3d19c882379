"""Runs of FSDP with sharded states of two ranks, as torch.distributed.checkpoint writes them; torch is not needed."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from struct import pack
from typing import Any
from uuid import uuid4

from audit.testing.runs import make_run
from audit.testing.torch_files import FakeTensor, Made, Name, pickle_bytes, torch_archive_bytes

MODULE = "torch.distributed.checkpoint"
SHAPES = {"embed.weight": (8, 4), "layers.0.weight": (4, 4), "head.weight": (8, 4)}
WORLD = 2
RATE = 1e-4
MODEL, OPTIMIZER = "pytorch_model_fsdp_0", "optimizer_0"
Value = FakeTensor | float | list[str] | list[float]
Edit = Callable[[dict[str, Any]], None]


def make_sharded(path: str | os.PathLike[str], steps: tuple[int, ...] = (100, 200), world: int = WORLD) -> Path:
    """Write a sound run: weights and optimizer in shards, nothing else of a model, no training arguments."""
    run = Path(make_run(path, steps, world=world, schedule="constant"))
    for step in steps:
        place = run / f"checkpoint-{step}"
        for name in os.listdir(place):
            if name not in ("trainer_state.json", "scheduler.pt") and not name.startswith("rng_state"):
                (place / name).unlink()
        write_state(place, step, world=world)
    return run


def make_apart(path: str | os.PathLike[str], steps: tuple[int, ...] = (100, 200, 300)) -> Path:
    """Write a sound run of ``dcp.save``, weights and optimizer in directories of their own; torch is not needed."""
    run = make_sharded(path, steps)
    for step in steps:
        place = run / f"checkpoint-{step}"
        for file in list(place.iterdir()):
            if file.is_file():
                file.unlink()
        (place / MODEL).rename(place / "model")
        (place / OPTIMIZER).rename(place / "optimizer")
        place.rename(run / f"step-{step}")
    return run


def make_whole(
    path: str | os.PathLike[str],
    steps: tuple[int, ...] = (100, 200, 300),
    extra: Callable[[int], Mapping[str, Value]] | None = None,
    *,
    alone: bool = False,
) -> Path:
    """Write a sound run of ``dcp.save`` with everything in one state; ``extra`` is what more it holds at a step.

    ``alone``: each process writes a metadata of its own (``use_collectives=False``).
    """
    run = Path(path)
    for step in steps:
        (run / f"step-{step}").mkdir(parents=True)
        more = extra(step) if extra is not None else {"train_state.step": float(step)}
        write_shards(run / f"step-{step}", {**weights_at(step), **optimizer_at(step), **more}, None, alone=alone)
    return run


def write_state(
    place: Path, step: int, edit: Edit | None = None, world: int = WORLD, extra: Mapping[str, Value] | None = None
) -> None:
    """Write both directories of one checkpoint; ``edit`` changes the state of the metadata of the weights.

    ``extra`` is saved with the optimizer.
    """
    write_shards(place / MODEL, weights_at(step), edit, world)
    write_shards(place / OPTIMIZER, {**optimizer_at(step), **(extra or {})}, None, world)


def weights_at(step: int) -> dict[str, Value]:
    """The weights of a step."""
    generator = Random(step)
    start = Random(0)  # training moves weights by small steps from where they were
    return {f"model.{name}": _moved(start, generator, shape) for name, shape in SHAPES.items()}


def optimizer_at(step: int) -> dict[str, Value]:
    """The optimizer of a step."""
    generator = Random(-step)
    optimizer: dict[str, Value] = {}
    for name, shape in SHAPES.items():
        optimizer[f"optimizer.state.{name}.step"] = FakeTensor("F32", (), pack("<f", step))
        optimizer[f"optimizer.state.{name}.exp_avg"] = _floats(generator, shape)
        optimizer[f"optimizer.state.{name}.exp_avg_sq"] = _floats(generator, shape, positive=True)
    for group, names in enumerate((list(SHAPES), [])):
        optimizer[f"optimizer.param_groups.{group}.lr"] = RATE
        optimizer[f"optimizer.param_groups.{group}.betas"] = [0.9, 0.999]
        optimizer[f"optimizer.param_groups.{group}.params"] = names
    return optimizer


def _moved(start: Random, generator: Random, shape: tuple[int, int]) -> FakeTensor:
    values = [start.gauss(0, 1) + generator.gauss(0, 1e-2) for _ in range(shape[0] * shape[1])]
    return FakeTensor("F32", shape, pack(f"<{len(values)}f", *values))


def _floats(generator: Random, shape: tuple[int, int], positive: bool = False) -> FakeTensor:
    values = [generator.gauss(0, 1) for _ in range(shape[0] * shape[1])]
    return FakeTensor("F32", shape, pack(f"<{len(values)}f", *(abs(value) if positive else value for value in values)))


def write_shards(
    folder: Path, values: Mapping[str, Value], edit: Edit | None, world: int = WORLD, *, alone: bool = False
) -> None:
    """Each rank has an equal part of the rows of each tensor; what has no rows is rank 0's.

    ``alone``: every rank has it, and a metadata with its own parts.
    """
    if alone:
        for rank in range(world):
            _write_shards(folder, values, edit, world, (rank,), f"__{rank}.metadata")
    else:
        _write_shards(folder, values, edit, world, tuple(range(world)), ".metadata")


def _write_shards(
    folder: Path, values: Mapping[str, Value], edit: Edit | None, world: int, writing: tuple[int, ...], table: str
) -> None:
    folder.mkdir(exist_ok=True)
    shards = [b"" for _ in range(world)]
    listed: dict[str, Any] = {}
    stored: dict[Any, Any] = {}

    def put(rank: int, name: str, offsets: tuple[int, ...] | None, value: Any) -> None:
        data = torch_archive_bytes(value)
        size = None if offsets is None else Made("torch.Size", (offsets,))
        index = Made(f"{MODULE}.metadata.MetadataIndex", (), {"fqn": name, "offset": size, "index": None})
        where = {"relative_path": f"__{rank}_0.distcp", "offset": len(shards[rank]), "length": len(data)}
        stored[index] = Made(f"{MODULE}.filesystem._StorageInfo", (), where)
        shards[rank] += data

    for name, value in values.items():
        if not isinstance(value, FakeTensor):
            listed[name] = Made(f"{MODULE}.metadata.BytesStorageMetadata", (), {})
            put(writing[0], name, None, value)
            continue
        chunks = []
        ranks = writing if value.shape else writing[:1]
        for rank in ranks:
            sizes, offsets, part = value.shape, (0,) * len(value.shape), value
            if value.shape:
                rows = value.shape[0] // world
                sizes, offsets = (rows, *value.shape[1:]), (rank * rows, *offsets[1:])
                width = len(value.data) // world
                part = FakeTensor(value.dtype, sizes, value.data[rank * width : (rank + 1) * width])
            state = {"offsets": Made("torch.Size", (offsets,)), "sizes": Made("torch.Size", (sizes,))}
            chunks.append(Made(f"{MODULE}.metadata.ChunkStorageMetadata", (), state))
            put(rank, name, offsets, part)
        properties = Made(f"{MODULE}.metadata.TensorProperties", (), (Name("torch.float32"), None, False, None, False))
        tensor = {"properties": properties, "size": Made("torch.Size", (value.shape,)), "chunks": chunks}
        listed[name] = Made(f"{MODULE}.metadata.TensorStorageMetadata", (), tensor)
    saved: dict[str, Any] = {"checkpoint_id": str(folder), "save_id": str(uuid4()), "load_id": None, "modules": []}
    whole = {"state_dict_metadata": listed, "storage_data": stored, "planner_data": {}, "version": "1.0.0"}
    whole["storage_meta"] = Made(f"{MODULE}.metadata.StorageMeta", (), saved)
    if edit is not None:
        edit(whole)
    for rank in writing:
        (folder / f"__{rank}_0.distcp").write_bytes(shards[rank])
    (folder / table).write_bytes(pickle_bytes(Made(f"{MODULE}.metadata.Metadata", (), whole)))
