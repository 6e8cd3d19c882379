"""The state of DeepSpeed's engine in one checkpoint: what ``latest`` names, read as a whole or not at all."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from audit.backend.layout import Layout
from audit.errors import NotApplicable
from audit.formats.damage import Damage

if TYPE_CHECKING:
    from audit.facts.shared import Shared
    from audit.formats.torch_archive import TorchArchive
    from audit.formats.zero import EngineState, Partition

T = TypeVar("T")

_MODEL = re.compile(r"(?:zero_pp_rank_([0-9]{1,6})_)?mp_rank_00_model_states\.pt", re.ASCII)
_OPTIMIZER = re.compile(r"(bf16_|fp16_)?zero_pp_rank_([0-9]{1,6})_mp_rank_00_optim_states\.pt", re.ASCII)
_BF16 = "bf16_"
_KINDS = {
    "expp_rank_": "is a part of a mixture of experts, which is not read",
    "expert_": "is a part of a mixture of experts, which is not read",
    "layer_": "is a stage of a pipeline, which is not read",
    "mp_rank_": "is one of several parts of the model (tensor parallelism), which is not read",
}


class ZeroState(NamedTuple):
    """The files of one tag: ``engines`` by path, ``partitions`` by the rank in their name, ``paths`` of these.

    ``tag`` is the directory. ``doubtful``: files of a rank that has others, where nothing says which DeepSpeed loads.
    """

    tag: str
    engines: "Mapping[str, EngineState]"
    partitions: "Mapping[int, Partition]"
    paths: Mapping[int, str]
    doubtful: tuple[str, ...] = ()

    @property
    def engine(self) -> "EngineState":
        """The engine's state of the first file; they differ if they are of different steps."""
        return next(iter(self.engines.values()))

    @property
    def ranks(self) -> "tuple[Partition, ...]":
        """The partitions that DeepSpeed loads, in the order of their ranks; nothing if one of them is not there.

        A file of a rank beyond the number of processes that saved it was left from another save, and is never loaded.
        """
        world = range(self.engine.dp_world_size)
        return tuple(self.partitions[rank] for rank in world) if all(rank in self.partitions for rank in world) else ()


def zero_of(layout: Layout, archive_of: "Callable[[str], TorchArchive]", shared: "Shared | None" = None) -> ZeroState:
    """Read all states of DeepSpeed that a resume would load; ``archive_of`` reads a file, or raises NotApplicable.

    Raises NotApplicable if any of them cannot be read or is of a kind that is not known here: model parallelism,
    pipelines, experts, an optimizer without ZeRO. ``shared`` keeps once what is the same in all checkpoints.
    """
    from audit.formats.zero import engine_in, partition_in

    if layout.kind != "deepspeed":
        raise NotApplicable("DeepSpeed did not save it")
    engines: dict[str, EngineState] = {}
    rank_of: dict[str, int] = {}
    for path in layout.sharded_weights:
        if _MODEL.fullmatch(path.rpartition("/")[2]) is None:
            raise NotApplicable(f"{path} {_kind(path)}")
        rank_of[path] = engine_rank(path)
        engine = _read(path, archive_of, engine_in)
        engines[path] = engine if shared is None else _once(engine, shared)
    if not engines:
        raise NotApplicable("there is no state of DeepSpeed's engine")
    if len({path.rpartition("/")[0] for path in (*engines, *layout.sharded_optimizer)}) > 1:
        raise NotApplicable("there are several engines of DeepSpeed, which are not read")
    world = next(iter(engines.values())).dp_world_size
    for path, rank in rank_of.items():
        if rank >= world > 0:
            del engines[path]  # left from a save of more processes, and never loaded
    if not engines:
        raise NotApplicable("all states of DeepSpeed's engine are of processes that it does not have")
    if any(engine.mp_world_size != 1 for engine in engines.values()):
        raise NotApplicable("the model is spread over several processes, which is not read")
    paths, doubtful = _partitions(layout, next(iter(engines.values())).bf16)
    tag = next(iter(engines)).rpartition("/")[0]
    if not paths:
        raise NotApplicable(
            f"{tag} is a universal checkpoint, which is not read"
            if tag.endswith("_universal")
            else "there is no state of ZeRO"
        )
    partitions: dict[int, Partition] = {}
    for rank, path in paths.items():
        part = _read(path, archive_of, partition_in)
        kept = part.slices if shared is None else shared.once(f"slices of rank {rank}", part.slices)
        partitions[rank] = part._replace(slices=kept)
    return ZeroState(tag, engines, partitions, paths, doubtful)


def engine_rank(path: str) -> int:
    """Return the rank that wrote a state of the engine, by its name; 0 for one that is of all ranks."""
    named = _MODEL.fullmatch(path.rpartition("/")[2])
    return int(named[1] or 0) if named is not None else 0


def _partitions(layout: Layout, bf16: bool | None) -> tuple[dict[int, str], tuple[str, ...]]:
    """Return the partitions that DeepSpeed loads, by rank, and those of ranks that have several, if nothing decides.

    DeepSpeed 0.19, ``_get_zero_ckpt_prefix``: the names begin with ``bf16_`` if bfloat16 is on. Both are there if it
    was switched on or off and the tag saved again.
    """
    by_rank: dict[int, dict[str, str]] = {}
    for path in sorted(layout.sharded_optimizer):
        named = _OPTIMIZER.fullmatch(path.rpartition("/")[2])
        if named is None:
            raise NotApplicable(f"{path} {_kind(path)}")
        by_rank.setdefault(int(named[2]), {})[named[1] or ""] = path
    fits = {prefix for candidates in by_rank.values() for prefix in candidates if (prefix == _BF16) is bf16}
    chosen: dict[int, str] = {}
    doubtful: list[str] = []
    for rank, candidates in sorted(by_rank.items()):
        loaded = [path for prefix, path in candidates.items() if prefix in fits or not fits]
        if len(loaded) > 1:
            doubtful += loaded
        if loaded:
            chosen[rank] = loaded[0]
    return chosen, tuple(doubtful)


def _kind(path: str) -> str:
    """Why a file of a tag is not read: what it is by its name."""
    name = path.rpartition("/")[2]
    return next((reason for part, reason in _KINDS.items() if part in name), "is of a kind that is not read")


def _once(engine: "EngineState", shared: "Shared") -> "EngineState":
    return engine._replace(
        shapes=shared.once("shapes of ZeRO", engine.shapes),
        module=shared.once("module of ZeRO", engine.module),
        frozen=shared.once("frozen parameters of ZeRO", engine.frozen),
        sizes=shared.once("sizes of ZeRO", engine.sizes),
    )


def _read(
    path: str, archive_of: "Callable[[str], TorchArchive]", taken_from: "Callable[[TorchArchive], T | Damage]"
) -> T:
    found = taken_from(archive_of(path))
    if isinstance(found, Damage):
        raise NotApplicable(f"{path} {found.message}")
    return found
