"""Ways to damage a checkpoint of DeepSpeed, each by itself; made and real ones take the same."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from struct import pack, unpack
from typing import Any, NamedTuple

from audit.formats.damage import Damage as Unreadable
from audit.formats.torch_archive import TorchArchive, read_torch
from audit.storage import BytesReader
from audit.testing.runs import edit_torch
from audit.testing.torch_files import FakeTensor

Change = Callable[[Path, Path], Any]
"""Gets the checkpoint to damage and the one before it."""


class Damage(NamedTuple):
    """One way; ``stages`` of ZeRO in which it can be done."""

    title: str
    change: Change
    stages: tuple[int, ...] = (2, 3)


def tag(checkpoint: Path) -> Path:
    """The directory that ``latest`` names."""
    return checkpoint / (checkpoint / "latest").read_text()


def model(checkpoint: Path, rank: int = 0) -> Path:
    """The engine's states; ZeRO-3 has one file for each rank."""
    folder = tag(checkpoint)
    single = folder / "mp_rank_00_model_states.pt"
    return single if single.exists() else folder / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt"


def part(checkpoint: Path, rank: int) -> Path:
    """A rank's partition."""
    (found,) = tag(checkpoint).glob(f"*zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    return found


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _swap(checkpoint: Path) -> None:
    first, second = part(checkpoint, 0), part(checkpoint, 1)
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)


def _older_partitions(new: Path, old: Path, ranks: tuple[int, ...]) -> None:
    for rank in ranks:
        shutil.copy(part(old, rank), part(new, rank))


def _older_model(new: Path, old: Path) -> None:
    for rank in (0, 1):
        if model(old, rank).exists():
            shutil.copy(model(old, rank), model(new, rank))


def _older_tag(new: Path, old: Path) -> None:
    kept = tag(new)
    shutil.rmtree(kept)
    shutil.copytree(tag(old), kept)


def _points_back(new: Path, old: Path) -> None:
    shutil.copytree(tag(old), new / tag(old).name)
    (new / "latest").write_text(tag(old).name)


def _engines(change: Callable[[dict[str, Any]], Any]) -> Change:
    def apply(new: Path, old: Path) -> None:
        for path in {model(new, 0), model(new, 1)}:
            edit_torch(path, change)

    return apply


def _without_a_tensor(value: dict[str, Any]) -> dict[str, Any]:
    module = dict(value["module"])
    module.pop(list(module)[-1])
    return {**value, "module": module}


def _partitions(change: Callable[[dict[str, Any]], Any], ranks: tuple[int, ...] = (0, 1)) -> Change:
    def inside(value: dict[str, Any]) -> dict[str, Any]:
        return {**value, "optimizer_state_dict": change(value["optimizer_state_dict"])}

    def apply(new: Path, old: Path) -> None:
        for rank in ranks:
            edit_torch(part(new, rank), inside)

    return apply


def _states(state: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    name = "base_optimizer_state" if "base_optimizer_state" in state else "optimizer_state_dict"
    return name, state[name]


def _moments(change: Callable[[str, FakeTensor], FakeTensor]) -> Callable[[dict[str, Any]], Any]:
    """Change every tensor of the inner optimizer's state, steps among them."""

    def apply(state: dict[str, Any]) -> dict[str, Any]:
        name, inner = _states(state)
        entries = {
            group: {key: change(key, item) if isinstance(item, FakeTensor) else item for key, item in entry.items()}
            for group, entry in inner["state"].items()
        }
        return {**state, name: {**inner, "state": entries}}

    return apply


def _weights(change: Callable[[FakeTensor], FakeTensor]) -> Callable[[dict[str, Any]], Any]:
    def apply(state: dict[str, Any]) -> dict[str, Any]:
        name = "fp32_flat_groups" if "fp32_flat_groups" in state else "single_partition_of_fp32_groups"
        return {**state, name: [change(item) for item in state[name]]}

    return apply


def _zeros(tensor: FakeTensor) -> FakeTensor:
    return tensor._replace(data=bytes(len(tensor.data)))


def _emptied(*keys: str) -> Callable[[dict[str, Any]], Any]:
    return _moments(lambda key, item: _zeros(item) if key in keys else item)


def _behind(key: str, item: FakeTensor) -> FakeTensor:
    if key != "step":
        return item
    (step,) = unpack("<f", item.data)
    return item._replace(data=pack("<f", step - 1))


def _first(value: float) -> Callable[[FakeTensor], FakeTensor]:
    return lambda item: item._replace(data=pack("<f", value) + item.data[4:])


def _negative(key: str, item: FakeTensor) -> FakeTensor:
    return _first(-1e-3)(item) if key == "exp_avg_sq" else item


def _nan_moment(key: str, item: FakeTensor) -> FakeTensor:
    return _first(float("nan"))(item) if key == "exp_avg" else item


def _nan_in_module(value: dict[str, Any]) -> dict[str, Any]:
    module = dict(value["module"])
    name = next(iter(module))
    width = {"F32": "<f", "F16": "<e"}[module[name].dtype]
    raw = pack(width, float("nan"))
    module[name] = module[name]._replace(data=raw + module[name].data[len(raw) :])
    return {**value, "module": module}


def _shorter(item: FakeTensor) -> FakeTensor:
    return item._replace(shape=(item.shape[0] - 1,), data=item.data[:-4])


def _without_moment(key: str) -> Callable[[dict[str, Any]], Any]:
    return _inner(
        lambda inner: {
            **inner,
            "state": {
                number: {name: item for name, item in entry.items() if name != key}
                for number, entry in inner["state"].items()
            },
        }
    )


def _inner(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """Change the state of the inner optimizer."""

    def apply(state: dict[str, Any]) -> dict[str, Any]:
        name, inner = _states(state)
        return {**state, name: change(inner)}

    return apply


def _exchanged(inner: dict[str, Any]) -> dict[str, Any]:
    states = inner["state"]
    return {**inner, "state": dict(zip(states, reversed(list(states.values())), strict=True))}


def _setting(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return _inner(lambda inner: {**inner, "param_groups": [{**group, key: value} for group in inner["param_groups"]]})


def _older_moments(ranks: tuple[int, ...]) -> Change:
    def apply(new: Path, old: Path) -> None:
        for rank in ranks:
            kept: list[Any] = []

            def keep(value: dict[str, Any], kept: list[Any] = kept) -> dict[str, Any]:
                kept.append(_states(value["optimizer_state_dict"])[1]["state"])
                return value

            def give(inner: dict[str, Any], kept: list[Any] = kept) -> dict[str, Any]:
                entries = {
                    number: {**kept[0][number], "step": entry["step"]} for number, entry in inner["state"].items()
                }
                return {**inner, "state": entries}

            with tempfile.TemporaryDirectory() as home:  # the older checkpoint stays as it is
                copy = shutil.copy(part(old, rank), home)
                edit_torch(copy, keep)
            _partitions(_inner(give), (rank,))(new, old)

    return apply


def _foreign_tensor(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "module": {**value["module"], "another.weight": FakeTensor("F32", (3,), bytes(12))}}


def _misshapen(value: dict[str, Any]) -> dict[str, Any]:
    first = next(iter(value["module"]))
    return {**value, "module": {**value["module"], first: FakeTensor("F32", (3, 3), bytes(36))}}


def _storage(path: Path) -> tuple[int, int]:
    """Offset and size of the largest record of a torch file."""
    archive = read_torch(BytesReader(path.read_bytes()))
    assert isinstance(archive, TorchArchive), archive if isinstance(archive, Unreadable) else ""
    record = max(archive.records.values(), key=lambda item: (item.size, item.offset))
    return record.offset, record.size


def _flip(path: Path) -> None:
    offset, size = _storage(path)
    data = bytearray(path.read_bytes())
    data[offset + size // 2] ^= 1
    path.write_bytes(data)


def _zeroed(path: Path) -> None:
    offset, size = _storage(path)
    data = bytearray(path.read_bytes())
    length = min(4096, size // 2)
    data[offset + size // 4 : offset + size // 4 + length] = bytes(length)
    path.write_bytes(data)


def _other_prefix(new: Path, old: Path) -> None:
    """Partitions of an older save in another precision, under the other name."""
    for rank in (0, 1):
        name = part(new, rank).name
        other = name.removeprefix("bf16_") if name.startswith("bf16_") else f"bf16_{name}"
        shutil.copy(part(old, rank), tag(new) / other)


def _of(change: Callable[[Path], Any], what: Callable[[Path], Path]) -> Change:
    return lambda new, old: change(what(new))


def _each() -> list[Damage]:
    """The same to every file of a tag."""
    found = []
    for name, what in (
        ("model states", model),
        ("partition of rank 0", lambda place: part(place, 0)),
        ("partition of rank 1", lambda place: part(place, 1)),
    ):
        found += [
            Damage(f"{name} deleted", _of(Path.unlink, what)),
            Damage(f"{name} cut in half", _of(_cut, what)),
            Damage(f"{name} without a byte", _of(lambda path: path.write_bytes(b""), what)),
        ]
    return found


def latest(text: str) -> Change:
    """Write another text into ``latest``."""
    return lambda new, old: (new / "latest").write_text(text)


DAMAGES = [
    Damage("latest deleted", lambda new, old: (new / "latest").unlink()),
    Damage("latest without a byte", latest("")),
    Damage("latest is zero bytes", latest("\0" * 13)),
    Damage("latest names a tag that is not there", latest("global_step7")),
    Damage("latest names an older tag beside the right one", _points_back),
    Damage("directory of the tag deleted", lambda new, old: shutil.rmtree(tag(new))),
    *_each(),
    Damage("model states of rank 1 deleted", lambda new, old: model(new, 1).unlink(), (3,)),
    Damage("dp_world_size of another run", _engines(lambda value: {**value, "dp_world_size": 4})),
    Damage("a tensor missing in the module", _engines(_without_a_tensor)),
    Damage("a tensor in the module that the model does not have", _engines(_foreign_tensor)),
    Damage("a tensor of another shape in the module", _engines(_misshapen)),
    Damage("scheduler.pt deleted", lambda new, old: (new / "scheduler.pt").unlink()),
    Damage("partition_count of another run", _partitions(
        lambda state: {**state, "partition_count": [4] * len(state["partition_count"])
                       if isinstance(state["partition_count"], list) else 4}, (1,))),
    Damage("a slice of weights one element short", _partitions(_weights(_shorter), (1,))),
    Damage("partition of rank 1 of an older step", lambda new, old: _older_partitions(new, old, (1,))),
    Damage("all partitions of an older step", lambda new, old: _older_partitions(new, old, (0, 1))),
    Damage("partitions of two ranks exchanged", lambda new, old: _swap(new)),
    Damage("partition of rank 0 copied to rank 1", lambda new, old: shutil.copy(part(new, 0), part(new, 1))),
    Damage("model states of an older step", _older_model),
    Damage("whole tag of an older step under the right name", _older_tag),
    Damage("global_steps of an older step", _engines(lambda value: {**value, "global_steps": 3})),
    Damage("all moments zero", _partitions(_emptied("exp_avg", "exp_avg_sq"))),
    Damage("moments of rank 1 zero", _partitions(_emptied("exp_avg", "exp_avg_sq"), (1,))),
    Damage("first moments of rank 1 zero", _partitions(_emptied("exp_avg"), (1,))),
    Damage("states of all ranks empty", _partitions(_inner(lambda inner: {**inner, "state": {}}))),
    Damage("state of rank 1 empty", _partitions(_inner(lambda inner: {**inner, "state": {}}), (1,))),
    Damage("no second moments on rank 1", _partitions(_without_moment("exp_avg_sq"), (1,))),
    Damage("no steps on any rank", _partitions(_without_moment("step"))),
    Damage("first moments of rank 1 one element short", _partitions(
        _moments(lambda key, item: _shorter(item) if key == "exp_avg" else item), (1,))),
    Damage("states of the groups exchanged", _partitions(_inner(_exchanged))),
    Damage("no groups on rank 1", _partitions(_inner(lambda inner: {**inner, "param_groups": []}), (1,))),
    Damage("moments of rank 1 of an older step", _older_moments((1,))),
    Damage("moments of all ranks of an older step", _older_moments((0, 1))),
    Damage("another learning rate on rank 1", _partitions(_setting("lr", 0.5), (1,))),
    Damage("another learning rate on all ranks", _partitions(_setting("lr", 0.5))),
    Damage("other betas on rank 1", _partitions(_setting("betas", (0.0, 0.5)), (1,))),
    Damage("another weight decay on all ranks", _partitions(_setting("weight_decay", 5.0))),
    Damage("step of rank 1 behind", _partitions(_moments(_behind), (1,))),
    Damage("a second moment below zero", _partitions(_moments(_negative), (1,))),
    Damage("NaN in the moments of rank 0", _partitions(_moments(_nan_moment), (0,))),
    Damage("NaN in the weights of rank 0", _partitions(_weights(_first(float("nan"))), (0,))),
    Damage("weights of rank 1 zero", _partitions(_weights(_zeros), (1,))),
    Damage("NaN in the module", _engines(_nan_in_module), (2,)),
    Damage("a bit flipped in the partition of rank 1", lambda new, old: _flip(part(new, 1))),
    Damage("a page of the partition of rank 1 zeroed", lambda new, old: _zeroed(part(new, 1))),
    Damage("a bit flipped in the model states", lambda new, old: _flip(model(new)), (2,)),
    Damage("a page of the model states zeroed", lambda new, old: _zeroed(model(new)), (2,)),
    Damage("partitions of an older step under the name of another precision", _other_prefix),
    Damage("model.safetensors of an older step", lambda new, old: shutil.copy(
        old / "model.safetensors", new / "model.safetensors"), (2,)),
    Damage("model.safetensors cut in half", lambda new, old: _cut(new / "model.safetensors"), (2,)),
    Damage("an older tag beside the right one", lambda new, old: shutil.copytree(tag(old), new / tag(old).name)),
    Damage("an empty newer tag beside the right one", lambda new, old: (new / "global_step99").mkdir()),
    Damage("partition of a third rank left from another save", lambda new, old: shutil.copy(
        part(new, 1), part(new, 1).with_name(part(new, 1).name.replace("rank_1", "rank_2")))),
    Damage("everything written again as it was", _partitions(lambda state: state)),
]  # fmt: skip
