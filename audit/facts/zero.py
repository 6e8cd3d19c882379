"""The state of DeepSpeed's engine in one checkpoint: what ``latest`` names, read as a whole or not at all."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from audit.backend.layout import Layout
from audit.errors import NotApplicable
from audit.formats.damage import Damage

if TYPE_CHECKING:
    from audit.formats.torch_archive import TorchArchive
    from audit.formats.zero import EngineState, Partition

T = TypeVar("T")

_MODEL = re.compile(r"(?:zero_pp_rank_([0-9]{1,6})_)?mp_rank_00_model_states\.pt", re.ASCII)
_OPTIMIZER = re.compile(r"(?:bf16_|fp16_)?zero_pp_rank_([0-9]{1,6})_mp_rank_00_optim_states\.pt", re.ASCII)


class ZeroState(NamedTuple):
    """The files of one tag: ``engines`` by path, ``partitions`` by the rank in their name, ``paths`` of these.

    ``tag`` is the directory.
    """

    tag: str
    engines: "Mapping[str, EngineState]"
    partitions: "Mapping[int, Partition]"
    paths: Mapping[int, str]


def zero_of(layout: Layout, archive_of: "Callable[[str], TorchArchive]") -> ZeroState:
    """Read all states of DeepSpeed that a resume would load; ``archive_of`` reads a file, or raises NotApplicable.

    Raises NotApplicable if any of them cannot be read or is of a kind that is not known here: model parallelism,
    pipelines, experts, an optimizer without ZeRO.
    """
    from audit.formats.zero import engine_in, partition_in

    if layout.kind != "deepspeed":
        raise NotApplicable("DeepSpeed did not save it")
    engines: dict[str, EngineState] = {}
    partitions: dict[int, Partition] = {}
    paths: dict[int, str] = {}
    for path in layout.sharded_weights:
        if not _MODEL.fullmatch(path.rpartition("/")[2]):
            raise NotApplicable(f"{path} is of a kind that is not read")
        engines[path] = _read(path, archive_of, engine_in)
    for path in layout.sharded_optimizer:
        named = _OPTIMIZER.fullmatch(path.rpartition("/")[2])
        if named is None:
            raise NotApplicable(f"{path} is of a kind that is not read")
        paths[int(named[1])] = path
        partitions[int(named[1])] = _read(path, archive_of, partition_in)
    if not engines or not partitions:
        raise NotApplicable("there is no state of ZeRO")
    if any(engine.mp_world_size != 1 for engine in engines.values()):
        raise NotApplicable("the model is spread over several processes, which is not read")
    return ZeroState(next(iter(engines)).partition("/")[0], engines, partitions, paths)


def _read(
    path: str, archive_of: "Callable[[str], TorchArchive]", taken_from: "Callable[[TorchArchive], T | Damage]"
) -> T:
    found = taken_from(archive_of(path))
    if isinstance(found, Damage):
        raise NotApplicable(f"{path} {found.message}")
    return found
