"""What each scheduler of Trainer needs of its state: ``load_state_dict`` and the next ``step`` use it unchecked.

torch 2.13, ``torch/optim/lr_scheduler.py``; transformers 5.23, ``optimization.py``. Each need was found by loading a
state without it and taking further steps (tests/plugins/audit_rules/test_scheduler_needs.py): the resume crashes, the
rate becomes NaN, or the schedule silently starts over.
"""

from collections.abc import Callable
from math import isfinite, isnan
from typing import Any

from audit.plugin import SchedulerState, TensorRef

LAMBDA, PLATEAU, GREEDY = "lambda", "plateau", "greedy"

_KIND_OF_TYPE = {"reduce_lr_on_plateau": PLATEAU, "greedy": GREEDY}


def kind_of_type(name: Any) -> str:
    """Return the kind of scheduler that Trainer makes for an ``lr_scheduler_type``."""
    return _KIND_OF_TYPE.get(name, LAMBDA) if isinstance(name, str) else LAMBDA


BASE_KEYS = frozenset(
    {"base_lrs", "last_epoch", "_step_count", "_is_initial", "_get_lr_called_within_step", "_last_lr", "verbose"}
)
"""What the base class of torch saves; a scheduler of another class has more."""

_METHODS = (
    "optimizer",
    "step",
    "get_lr",
    "get_last_lr",
    "state_dict",
    "load_state_dict",
    "_update_lr",
    "_initial_step",
)
_Need = tuple[Callable[[Any], bool], str]


def _is_count(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    if type(value) is TensorRef:
        return value.elements == 1
    return type(value) in (int, float) and isfinite(value)


def _is_some_number(value: Any) -> bool:
    return type(value) in (int, float) and not isnan(value)


def _is_rates(value: Any) -> bool:
    return type(value) is list and bool(value) and all(map(_is_number, value))


def _is_average(value: Any) -> bool:
    """Whether it is the state of a StreamingAverage."""
    return (
        type(value) is dict
        and _is_some_number(value.get("window_size"))
        and (value.get("values") == [] or _is_rates(value.get("values")))
        and _is_number(value.get("sum"))
    )


_COUNT: _Need = (_is_count, "an integer")
_NUMBER: _Need = (_is_number, "a finite number")
_SOME: _Need = (_is_some_number, "a number")  # the user may give it, as 2.0 or infinity too
_RATES: _Need = (_is_rates, "a list of finite numbers")
_METRIC: dict[str, _Need] = {
    "last_epoch": _COUNT,
    "best": _SOME,
    "num_bad_epochs": _COUNT,
    "cooldown_counter": _SOME,
    "cooldown": _SOME,
    "patience": _SOME,
    "factor": _NUMBER,
    "threshold": _NUMBER,
    "eps": _NUMBER,
    "mode": (lambda value: value in ("min", "max"), "min or max"),
    "threshold_mode": (lambda value: value in ("rel", "abs"), "rel or abs"),
    "min_lrs": _RATES,
}
_NEEDS: dict[str, dict[str, _Need]] = {
    LAMBDA: {"last_epoch": _COUNT, "_step_count": _COUNT},
    PLATEAU: _METRIC,
    GREEDY: {
        **_METRIC,
        "num_good_epochs": _COUNT,
        "warmup": _SOME,
        "warmup_counter": _SOME,
        "reset_start": _SOME,
        "reset_start_original": _SOME,
        "max_lrs": _RATES,
        "_init_lrs": _RATES,
        "_last_lr": _RATES,
        "smooth": (lambda value: type(value) is bool, "true or false"),
        "window_size": _SOME,
    },
}
_PER_GROUP = {PLATEAU: ("min_lrs",), GREEDY: ("min_lrs", "max_lrs", "_init_lrs", "_last_lr")}


def lacks(state: SchedulerState, kind: str, groups: int | None) -> str | None:
    """Return why a resume with a scheduler of this ``kind`` fails, such as "has no lr_lambdas"; None if it does not.

    ``groups`` is the number of parameter groups of the optimizer, None if unknown. For an unknown kind only what every
    scheduler of torch needs is checked.
    """
    values = state.values
    for name in _METHODS:
        if name in values:
            return f"has a value for {name}, which is a part of every scheduler itself"
    if kind == LAMBDA:
        wrong = _lambdas(state, groups)
        if wrong:
            return wrong
    elif kind not in _NEEDS:
        return _any_scheduler(state)
    for name, (sound, what) in _NEEDS[kind].items():
        if name not in values:
            return f"has no {name}"
        if not sound(values[name]):
            return f"has a {name} that is not {what}"
    if kind == GREEDY and values["smooth"] and not _is_average(values.get("_streaming_avg")):
        return "has no _streaming_avg of finite numbers"
    for name in _PER_GROUP.get(kind, ()):
        if groups is not None and len(values[name]) != groups:
            return f"has {len(values[name])} {name} for {groups} parameter groups"
    return None


def _lambdas(state: SchedulerState, groups: int | None) -> str | None:
    lambdas = state.values.get("lr_lambdas")
    if "lr_lambdas" not in state.values:
        return "has no lr_lambdas"
    if type(lambdas) is not list or not all(item is None or type(item) is dict for item in lambdas):
        return "has lr_lambdas that are not a list of dictionaries"
    if "base_lrs" not in state.values:
        return "has no base_lrs"
    if state.base_lrs is None or not all(map(_is_number, state.base_lrs)):
        return "has base_lrs that are not a list of finite numbers"
    wanted = len(lambdas) if groups is None else groups
    if len(state.base_lrs) != wanted:
        return f"has {len(state.base_lrs)} base_lrs for {wanted} parameter groups"
    if len(lambdas) != wanted:
        return f"has {len(lambdas)} lr_lambdas for {wanted} parameter groups"
    return None


def _any_scheduler(state: SchedulerState) -> str | None:
    for name in ("last_epoch", "_step_count"):
        value = state.values.get(name, 0)
        if type(value) not in (int, float) or not isfinite(value):
            return f"has a {name} that is not a number"
    inner = state.values.get("_schedulers")
    if "_schedulers" in state.values and (type(inner) is not list or not all(type(item) is dict for item in inner)):
        return "has _schedulers that are not a list of dictionaries"
    return None
