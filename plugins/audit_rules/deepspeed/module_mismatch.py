"""deepspeed/module-mismatch."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from audit.plugin import Checkpoint, Severity, Violation, rule
from audit_rules._more import and_more

if TYPE_CHECKING:
    from audit.plugin import EngineState, ZeroState

Shapes = Mapping[str, tuple[int, ...]]


@rule(
    Severity.ERROR,
    blocks_resume=True,
    remedy="Resume from an older checkpoint; the model would not take these states.",
    explained_by=(
        "files/missing-shard",
        "files/missing-weights",
        "deepspeed/latest",
        "deepspeed/partition-mismatch",
        "deepspeed/stale-partition",
        "integrity/archive",
    ),
)
def module_mismatch(checkpoint: Checkpoint, zero: "ZeroState") -> Iterator[Violation]:
    """The module in DeepSpeed's model states does not have the tensors of the model.

    DeepSpeed loads the module strictly: a tensor that the model does not have, one that is missing, or one of another
    shape raises a RuntimeError.

    Every trained parameter must be in the module, in the shape that ``param_shapes`` has of it. Of everything else,
    buffers and frozen parameters, the checkpoint before says what there is, if the same parameters are trained. Under
    ZeRO 3 the tensors are empty.
    """
    previous = checkpoint.optional("previous")
    before = previous.optional("zero") if previous is not None else None
    for path, engine in zero.engines.items():
        trained = {name: shape for group in engine.shapes or () for name, shape in group.items()}
        old = before.engine if before is not None and before.engine.shapes == engine.shapes else None
        said = _lacking(engine, trained, old) or _strange(engine, trained, old) or _misshapen(engine, trained, old)
        if said:
            yield Violation(f"{path} {said}", file=path)


def _lacking(engine: "EngineState", trained: Shapes, old: "EngineState | None") -> str | None:
    owed = trained.keys() | (old.module.keys() if old is not None else frozenset())
    lacking = sorted(owed - engine.module.keys())
    return f"has no weights of {lacking[0]}{and_more(lacking, ' and {} more')}" if lacking else None


def _strange(engine: "EngineState", trained: Shapes, old: "EngineState | None") -> str | None:
    if old is None:
        return None
    strange = sorted(engine.module.keys() - old.module.keys() - trained.keys())
    more = and_more(strange, " and {} more")
    return f"has {strange[0]}{more}, which the checkpoint before does not have" if strange else None


def _misshapen(engine: "EngineState", trained: Shapes, old: "EngineState | None") -> str | None:
    known = old.sizes if old is not None and old.empty == engine.empty else {}
    expected = {**known, **({} if engine.empty else trained)}
    for name, shape in engine.sizes.items():
        usual = expected.get(name, shape)
        if shape != usual and not _empty(engine, shape):
            return f"has {name} of shape {list(shape)}, but the model {list(usual)}"
    return None


def _empty(engine: "EngineState", shape: tuple[int, ...]) -> bool:
    """Whether a tensor is kept in the partitions only, as all that ZeRO 3 divides."""
    return engine.stage == 3 and shape == (0,)
