"""Read ``optimizer.pt``: groups, per-parameter state, step counts."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.formats.damage import Damage, Kind
from audit.formats.pickle_values import TensorRef
from audit.formats.torch_archive import TorchArchive, read_torch
from audit.storage import RangeReader

_DUMMY_KEYS = frozenset({"params", "lr", "initial_lr"})


class OptimizerState(NamedTuple):
    """``groups`` as saved, each with a list ``params`` of indices; ``state`` by index: TensorRefs and scalars.

    ``kind``: adam, adafactor, sgd, sgd-momentum, 8bit, schedule-free, layer-wise, other. ``steps`` are the counts of
    updates, one for each parameter that has one (schedule-free: one for each group). ``archive`` has the shapes.

    A sharded state is put together to the same form, with parameters by name. ``places`` say then where the storage of
    each tensor is: the path of each file and the span of its scan, in the order of the chunks; an ``optimizer.pt`` has
    none.
    """

    kind: str
    groups: list[dict[str, Any]]
    state: dict[Any, dict[Any, Any]]
    steps: list[float]
    archive: TorchArchive
    places: Mapping[str, tuple[tuple[str, str], ...]] = {}

    @property
    def highest_step(self) -> float | None:
        """The highest count of updates; what no counter reaches (NaN, a made-up integer) is not believed."""
        return max((step for step in self.steps if 0 <= step < 1 << 53), default=None)

    @property
    def counts(self) -> dict[Any, float]:
        """The count of updates of each parameter that has one; what no counter reaches is left out."""
        found = {index: _number(self.archive, entry.get("step")) for index, entry in self.state.items()}
        return {index: step for index, step in found.items() if step is not None and 0 <= step < 1 << 53}

    @property
    def names(self) -> tuple[str, ...]:
        """The classes and functions that the pickle names."""
        return self.archive.names


def read_optimizer(reader: RangeReader) -> OptimizerState | Damage:
    """Read an optimizer's state dict."""
    archive = read_torch(reader)
    return archive if isinstance(archive, Damage) else optimizer_in(archive)


def optimizer_in(archive: TorchArchive) -> OptimizerState | Damage:
    """Return the optimizer's state dict that an archive holds."""
    value = archive.value
    if type(value) is not dict or type(value.get("state")) is not dict or type(value.get("param_groups")) is not list:
        return Damage(Kind.MALFORMED, "is not an optimizer's state: it has no state and param_groups")
    groups: list[dict[str, Any]] = value["param_groups"]
    for position, group in enumerate(groups):
        if type(group) is not dict or type(group.get("params")) is not list:
            return Damage(Kind.MALFORMED, f"is not an optimizer's state: group {position} has no list of parameters")
        if not all(type(index) in (int, str) for index in group["params"]):
            return Damage(
                Kind.MALFORMED, f"is not an optimizer's state: group {position} has parameters without a name"
            )
    state: dict[Any, dict[Any, Any]] = value["state"]
    if not all(type(entry) is dict for entry in state.values()):
        return Damage(Kind.MALFORMED, "is not an optimizer's state: the state of a parameter is not a dictionary")
    kind = _kind(groups, state)
    return OptimizerState(kind, groups, state, _steps(archive, kind, groups, state), archive)


def _kind(groups: list[dict[str, Any]], state: dict[Any, dict[Any, Any]]) -> str:
    group = groups[0] if groups else {}
    if "train_mode" in group and "k" in group:
        return "schedule-free"
    entry = next(iter(state.values()), {})
    if "__bnb_optimizer_quant_state__" in entry or "qmap1" in entry or "state1" in entry:
        return "8bit"
    if "exp_avg_sq_row" in entry or "RMS" in entry:
        return "adafactor"
    if "exp_avg" in entry and "exp_avg_sq" in entry:
        return "adam"
    if type(entry.get("momentum_buffer")) is TensorRef and "square_avg" not in entry:
        return "sgd-momentum"
    if any(entries for entries in state.values() if set(entries) - {"momentum_buffer"}):
        return "other"
    if len(groups) == 1 and len(group["params"]) == 1 and set(group) <= _DUMMY_KEYS:
        return "layer-wise"
    if "betas" in group:
        return "adam"  # saved before its first update
    return "sgd" if "momentum" in group else "other"


def _steps(
    archive: TorchArchive,
    kind: str,
    groups: list[dict[str, Any]],
    state: dict[Any, dict[Any, Any]],
) -> list[float]:
    if kind == "schedule-free":
        found = [group.get("k") for group in groups]
    else:
        found = [entry["step"] for entry in state.values() if "step" in entry]
    numbers = [_number(archive, step) for step in found]
    return [step for step in numbers if step is not None]


def _number(archive: TorchArchive, step: Any) -> float | None:
    """A count of updates as a number: it is saved as one, or as a tensor of one element."""
    value = archive.scalars.get(step) if type(step) is TensorRef else step
    return value if isinstance(value, int | float) else None
