"""The damages that can happen to a sharded state of two ranks, each to a checkpoint whose older neighbour is there."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from struct import pack
from typing import NamedTuple

from tests.dcp import MODEL, OPTIMIZER
from tests.sharded import tools

Harm = Callable[[Path, Path], object]
"""Gets the checkpoint to damage and the one before it."""

TITLES = {MODEL: "weights", OPTIMIZER: "optimizer"}


class Damage(NamedTuple):
    """One kind of damage. ``torch``: done with torch's classes. ``untold``: why nothing in the files shows it, or "".

    ``harmless``: a resume from it is the same, so it must be handed out.
    """

    title: str
    group: str
    harm: Harm
    torch: bool = False
    untold: str = ""
    harmless: bool = False


DAMAGES: dict[str, Damage] = {}


def add(group: str, title: str, harm: Harm, *, torch: bool = False, untold: str = "", harmless: bool = False) -> None:
    """Put a damage into the table."""
    assert title not in DAMAGES, title
    DAMAGES[title] = Damage(title, group, harm, torch, untold, harmless)


Change = Callable[[Path], object]


def _cut(size: int | None, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:size])


def _halve(path: Path) -> None:
    _cut(path.stat().st_size // 2, path)


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _append(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"more than was saved")


def _flip(data: bytes) -> bytes:
    return data[:5] + bytes([data[5] ^ 4]) + data[6:]


def _lost_page(data: bytes) -> bytes:
    size = min(len(data), 256)
    return bytes(size) + data[size:]


def _to_shard(folder: str, change: Change, newest: Path, older: Path) -> None:
    change(tools.shard(newest / folder, 1))


def _to_metadata(folder: str, change: Change, newest: Path, older: Path) -> None:
    change(newest / folder / tools.METADATA)


def _to_elements(folder: str, change: Callable[[bytes], bytes], newest: Path, older: Path) -> None:
    tools.in_elements(newest / folder, 1, change)


def _from_before(folder: str, rank: int, newest: Path, older: Path) -> None:
    shutil.copy(tools.shard(older / folder, 1), tools.shard(newest / folder, rank))


def _exchange(folder: str, newest: Path, older: Path) -> None:
    one, other = tools.shard(newest / folder, 0), tools.shard(newest / folder, 1)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def _directory_from_before(folder: str, newest: Path, older: Path) -> None:
    shutil.rmtree(newest / folder)
    shutil.copytree(older / folder, newest / folder)


def _no_directory(folder: str, newest: Path, older: Path) -> None:
    shutil.rmtree(newest / folder)


def _metadata_of(other: str, folder: str, newest: Path, older: Path) -> None:
    shutil.copy(newest / other / tools.METADATA, newest / folder / tools.METADATA)


def _metadata_from_before(folder: str, newest: Path, older: Path) -> None:
    shutil.copy(older / folder / tools.METADATA, newest / folder / tools.METADATA)


RUINS: dict[str, Change] = {
    "deleted": Path.unlink,
    "emptied": partial(_cut, 0),
    "cut in half": _halve,
    "zeroed, its size unchanged": _zero,
}

for folder, what in TITLES.items():
    ruins: dict[str, Change] = {**RUINS, "without its last 100 bytes": partial(_cut, -100)}
    for title, change in ruins.items():
        add("Shard files", f"{what}: a shard {title}", partial(_to_shard, folder, change))
    add("Shard files", f"{what}: a flipped bit", partial(_to_elements, folder, _flip))
    add("Shard files", f"{what}: a lost page, zeros", partial(_to_elements, folder, _lost_page))
    add("Shard files", f"{what}: a shard of the step before", partial(_from_before, folder, 1))
    add("Shard files", f"{what}: two shards exchanged", partial(_exchange, folder))
    add("Shard files", f"{what}: bytes behind a shard", partial(_to_shard, folder, _append), harmless=True)
    add("Shard files", f"{what}: a shard of a third rank left behind", partial(_from_before, folder, 2), harmless=True)
    add("Shard files", f"{what}: the whole directory of the step before", partial(_directory_from_before, folder))
    add("Shard files", f"{what}: no directory", partial(_no_directory, folder))
    for title, change in RUINS.items():
        add("Metadata", f"{what}: the metadata {title}", partial(_to_metadata, folder, change))
    other = OPTIMIZER if folder == MODEL else MODEL
    add("Metadata", f"{what}: the metadata of the other directory", partial(_metadata_of, other, folder))
    copied = f"{what}: the metadata of the step before, of the same layout"
    add("Metadata", copied, partial(_metadata_from_before, folder), harmless=True)


def _query(name: str) -> bool:
    return name.endswith("layers.0.self_attn.q_proj.weight")


def _output(name: str) -> bool:
    return name.endswith("layers.0.self_attn.o_proj.weight")


def _step(name: str) -> bool:
    return name.endswith(".step")


add(
    "Tables", "weights: a tensor has no place", lambda n, o: tools.drop(n / MODEL, _query, places_only=True), torch=True
)
add("Tables", "weights: a tensor dropped", lambda n, o: tools.drop(n / MODEL, _query), torch=True)
add("Tables", "weights: a chunk dropped from both tables", lambda n, o: tools.drop_chunk(n / MODEL, _query), torch=True)
add(
    "Tables",
    "weights: the chunks of two tensors of one shape exchanged",
    lambda n, o: tools.exchange_chunks(n / MODEL, _query, _output),
    torch=True,
)
add(
    "Tables",
    "optimizer: the state of a parameter dropped",
    lambda n, o: tools.drop(n / OPTIMIZER, lambda name: "layers.0.self_attn.q_proj.weight" in name),
    torch=True,
)
add(
    "Tables",
    "optimizer: the second moments dropped",
    lambda n, o: tools.drop(n / OPTIMIZER, lambda name: name.endswith(".exp_avg_sq")),
    torch=True,
)
add(
    "Tables",
    "optimizer: the names of a group's parameters dropped",
    lambda n, o: tools.drop(n / OPTIMIZER, lambda name: name == "optimizer.param_groups.0.params"),
    torch=True,
)
add(
    "Tables",
    "optimizer: the learning rate of a group dropped",
    lambda n, o: tools.drop(n / OPTIMIZER, lambda name: name == "optimizer.param_groups.0.lr"),
    torch=True,
)
add(
    "Tables",
    "optimizer: a chunk of a moment dropped from both tables",
    lambda n, o: tools.drop_chunk(n / OPTIMIZER, lambda name: name.endswith("q_proj.weight.exp_avg")),
    torch=True,
)
NAN = pack("<f", float("nan"))
add(
    "Values, saved so",
    "weights: a NaN",
    lambda n, o: tools.set_values(n / MODEL, lambda name: "embed" in name, lambda data: NAN + data[4:]),
)
add(
    "Values, saved so",
    "weights: the matrices of a layer zero",
    lambda n, o: tools.set_values(n / MODEL, lambda s: ".0." in s and "norm" not in s, lambda data: bytes(len(data))),
    untold="it is a warning, as in every layout: somebody may have set them to zero on purpose",
)
add(
    "Values, saved so",
    "weights: everything zero",
    lambda n, o: tools.set_values(n / MODEL, lambda name: True, lambda data: bytes(len(data))),
)
add(
    "Values, saved so",
    "optimizer: a NaN in a moment",
    lambda n, o: tools.set_values(n / OPTIMIZER, lambda s: s.endswith(".exp_avg"), lambda data: NAN + data[4:]),
)
add(
    "Values, saved so",
    "optimizer: all moments zero",
    lambda n, o: tools.set_values(n / OPTIMIZER, lambda name: "exp_avg" in name, lambda data: bytes(len(data))),
)
add(
    "Values, saved so",
    "optimizer: all first moments zero",
    lambda n, o: tools.set_values(n / OPTIMIZER, lambda name: name.endswith("exp_avg"), lambda data: bytes(len(data))),
)
add(
    "Values, saved so",
    "optimizer: the second moment of one parameter zero",
    lambda n, o: tools.set_values(
        n / OPTIMIZER, lambda name: "embed" in name and name.endswith("exp_avg_sq"), lambda data: bytes(len(data))
    ),
)
add(
    "Values, saved so",
    "optimizer: a second moment below zero",
    lambda n, o: tools.set_values(
        n / OPTIMIZER, lambda name: name.endswith("exp_avg_sq"), lambda data: pack("<f", -1.0) + data[4:]
    ),
)
add(
    "Values, saved so",
    "optimizer: every count of updates 1",
    lambda n, o: tools.set_values(n / OPTIMIZER, _step, lambda data: pack("<f", 1.0)),
)
add(
    "Values, saved so",
    "optimizer: one parameter's count of updates 1",
    lambda n, o: tools.set_values(
        n / OPTIMIZER, lambda name: _step(name) and "embed" in name, lambda data: pack("<f", 1.0)
    ),
)
