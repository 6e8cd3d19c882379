"""Read ``scheduler.pt`` and ``scaler.pt``."""

from typing import Any, NamedTuple

from audit.formats.damage import Damage, Kind
from audit.formats.pickle_values import TensorRef
from audit.formats.torch_archive import TorchArchive, read_torch
from audit.storage import RangeReader

_OTHERS = (
    (frozenset({"param_groups", "state"}), "an optimizer"),
    (frozenset({"scale", "growth_factor"}), "a gradient scaler"),
    (frozenset({"python", "cpu"}), "random number generators"),
)
"""Keys that no scheduler has together, and whose they are. Which keys a custom scheduler has nobody knows."""

_GREEDY = frozenset(
    {"_init_lrs", "smooth", "window_size", "num_good_epochs", "warmup_counter", "max_lrs", "reset_start"}
)
"""Keys of a GreedyLR of transformers that ReduceLROnPlateau does not have."""


class SchedulerState(NamedTuple):
    """A learning-rate scheduler's state dict; None if the scheduler has no such value.

    ``kind``: lambda (LambdaLR: every schedule of transformers), plateau, greedy, sequential, other; an empty
    dictionary (custom trainers) is ``other``. ``values`` is everything as saved and may hold cycles.
    """

    kind: str
    last_epoch: int | None
    step_count: int | None
    base_lrs: list[float] | None
    last_lr: list[float] | None
    values: dict[Any, Any]
    names: tuple[str, ...]


class ScalerState(NamedTuple):
    """State of a torch GradScaler; None if a value is missing or not a number."""

    scale: float | None
    growth_factor: float | None
    backoff_factor: float | None
    growth_interval: int | None
    growth_tracker: int | None
    values: dict[Any, Any]
    names: tuple[str, ...]


def read_scheduler(reader: RangeReader) -> SchedulerState | Damage:
    """Read a scheduler's state dict."""
    archive = read_torch(reader)
    return archive if isinstance(archive, Damage) else scheduler_in(archive)


def scheduler_in(archive: TorchArchive) -> SchedulerState | Damage:
    """Return the scheduler's state dict that an archive holds."""
    values = archive.value
    if type(values) is not dict:
        return Damage(Kind.MALFORMED, "is not a scheduler's state: it is not a dictionary")
    for marks, what in _OTHERS:
        if marks <= values.keys():
            return Damage(Kind.MALFORMED, f"is not a scheduler's state: it is that of {what}")
    return SchedulerState(
        _kind(values),
        _integer(values.get("last_epoch")),
        _integer(values.get("_step_count")),
        _rates(archive, values.get("base_lrs")),
        _rates(archive, values.get("_last_lr")),
        values,
        archive.names,
    )


def read_scaler(reader: RangeReader) -> ScalerState | Damage:
    """Read a gradient scaler's state dict."""
    archive = read_torch(reader)
    return archive if isinstance(archive, Damage) else scaler_in(archive)


def scaler_in(archive: TorchArchive) -> ScalerState | Damage:
    """Return the gradient scaler's state dict that an archive holds."""
    values = archive.value
    if type(values) is not dict:
        return Damage(Kind.MALFORMED, "is not a gradient scaler's state: it is not a dictionary")
    if values and "scale" not in values:  # a scaler that was switched off saves an empty dictionary
        return Damage(Kind.MALFORMED, "is not a gradient scaler's state: it has no scale")
    return ScalerState(
        _number(values.get("scale")),
        _number(values.get("growth_factor")),
        _number(values.get("backoff_factor")),
        _integer(values.get("growth_interval")),
        _integer(values.get("_growth_tracker")),
        values,
        archive.names,
    )


def _kind(values: dict[Any, Any]) -> str:
    if "lr_lambdas" in values:
        return "lambda"
    if len(_GREEDY & values.keys()) > 1:
        return "greedy"
    if "mode" in values and "num_bad_epochs" in values:
        return "plateau"
    return "sequential" if "_schedulers" in values else "other"


def _integer(value: Any) -> int | None:
    return value if type(value) is int else None


def _number(value: Any) -> float | None:
    return value if type(value) in (int, float) else None


def _rates(archive: TorchArchive, value: Any) -> list[float] | None:
    if type(value) is not list:
        return None
    rates: list[float] = []
    for rate in value:
        number = archive.scalars.get(rate) if type(rate) is TensorRef else rate
        if not isinstance(number, int | float):
            return None
        rates.append(number)
    return rates
