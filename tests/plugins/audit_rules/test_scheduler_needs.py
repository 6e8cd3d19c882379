"""What a scheduler needs, held to the real ones: load a changed state, step on, and compare the rates."""

import math
import warnings
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any

import pytest

from audit.formats.scheduler import SchedulerState, read_scheduler
from audit.storage import BytesReader
from audit.testing.torch_files import torch_archive_bytes
from audit_rules.scheduler._needs import lacks

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")

TYPES: dict[str, dict[str, Any]] = {
    **{str(kind.value): {} for kind in transformers.SchedulerType},
    "cosine_with_min_lr": {"min_lr_rate": 0.1},
    "cosine_warmup_with_min_lr": {"min_lr_rate": 0.1},
    "warmup_stable_decay": {"num_decay_steps": 5},
    "reduce_lr_on_plateau": {"patience": 1, "factor": 0.5},
    "greedy": {"patience": 1, "factor": 0.5, "min_lr": 1e-6, "smooth": True, "window_size": 3},
}
KINDS = {"reduce_lr_on_plateau": "plateau", "greedy": "greedy"}
NAN, INF = float("nan"), float("inf")
ODD: dict[str, Any] = {
    "None": None, "text": "a", "a list": [], "a list of text": ["a", "b"], "a list of one": [1e-3], "a dictionary": {},
    "NaN": NAN, "infinity": INF, "NaN twice": [NAN, NAN], "None twice": [None, None], "three": [1e-3, 1e-3, 1e-3],
    "three dictionaries": [{}, {}, {}],
}  # fmt: skip


def made(kind: str) -> tuple[Any, Any]:
    """An optimizer of two groups with its scheduler."""
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))]} for _ in range(2)]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    scheduler = transformers.get_scheduler(
        kind, optimizer, num_warmup_steps=3, num_training_steps=30, scheduler_specific_kwargs=TYPES[kind]
    )
    return optimizer, scheduler


def stepped(kind: str, scheduler: Any, optimizer: Any, first: int, count: int) -> list[list[float]]:
    """The rates of the next steps; the metric rises and falls."""
    rates = []
    for step in range(first, first + count):
        optimizer.step()
        scheduler.step(*([1.0 + 0.1 * (step % 4)] if kind in KINDS else []))
        rates.append([float(group["lr"]) for group in optimizer.param_groups])
        scheduler.get_last_lr()[0]
    return rates


def saved(kind: str) -> dict[str, Any]:
    optimizer, scheduler = made(kind)
    stepped(kind, scheduler, optimizer, 0, 8)
    state: dict[str, Any] = scheduler.state_dict()
    return state


def goes_on(kind: str, change: Callable[[dict[str, Any]], Any]) -> bool:
    """Whether the real scheduler takes the changed state and has the rates that it would have had."""
    optimizer, scheduler = made(kind)
    stepped(kind, scheduler, optimizer, 0, 8)
    again, other = made(kind)
    for group, reached in zip(again.param_groups, optimizer.param_groups, strict=True):
        group["lr"] = reached["lr"]  # as optimizer.pt gives it
    expected = stepped(kind, scheduler, optimizer, 8, 12)
    state = saved(kind)
    change(state)
    file = BytesIO()
    torch.save(state, file)
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            other.load_state_dict(torch.load(file, weights_only=True))
            found = stepped(kind, other, again, 8, 12)
        except Exception:
            return False
    return all(
        math.isclose(mine, theirs, rel_tol=1e-12)
        for pair in zip(expected, found, strict=True)
        for mine, theirs in zip(*pair, strict=True)
    )


def judged(kind: str, state: dict[str, Any]) -> str | None:
    file = BytesIO()
    torch.save(state, file)
    found = read_scheduler(BytesReader(file.getvalue()))
    assert isinstance(found, SchedulerState), found
    return lacks(found, KINDS.get(kind, "lambda"), 2)


@pytest.mark.parametrize("kind", TYPES)
def test_what_trainer_writes_is_usable(kind: str) -> None:
    state = saved(kind)
    assert judged(kind, state) is None
    assert goes_on(kind, lambda _: None)


def leave_out(name: str, state: dict[str, Any]) -> None:
    del state[name]


def put(name: str, value: Any, state: dict[str, Any]) -> None:
    state[name] = value


@pytest.mark.parametrize("kind", ["linear", "constant", "cosine", "reduce_lr_on_plateau", "greedy"])
def test_what_keeps_the_real_one_from_going_on_is_found(kind: str) -> None:
    missed = []
    for name in saved(kind):
        changes = {f"no {name}": partial(leave_out, name)}
        changes.update((f"{name} is {label}", partial(put, name, value)) for label, value in ODD.items())
        for label, change in changes.items():
            state = saved(kind)
            change(state)
            if not goes_on(kind, change) and judged(kind, state) is None:
                missed.append(label)
    # What best is before the first evaluation; what a user may give for the others.
    endless = ("best", "patience", "cooldown", "cooldown_counter", "warmup", "warmup_counter", "window_size")
    assert set(missed) <= {f"{name} is infinity" for name in (*endless, "reset_start", "reset_start_original")}


def exchange(other: dict[Any, Any], state: dict[Any, Any]) -> None:
    state.clear()
    state.update(other)


@pytest.mark.parametrize("state", [{}, {1: 2}, {"a": 1}])
def test_a_state_without_anything_is_unusable_for_each(state: dict[Any, Any]) -> None:
    for kind in TYPES:
        assert judged(kind, dict(state)) is not None
        assert not goes_on(kind, partial(exchange, state))


OTHERS: dict[str, Callable[[Any], Any]] = {
    "StepLR": lambda o: torch.optim.lr_scheduler.StepLR(o, 3),
    "MultiStepLR": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [2, 4]),
    "ConstantLR": torch.optim.lr_scheduler.ConstantLR,
    "LinearLR": torch.optim.lr_scheduler.LinearLR,
    "ExponentialLR": lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": torch.optim.lr_scheduler.PolynomialLR,
    "CosineAnnealingLR": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10),
    "CosineAnnealingWarmRestarts": lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "OneCycleLR": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1e-2, total_steps=30),
    "CyclicLR": lambda o: torch.optim.lr_scheduler.CyclicLR(o, 1e-4, 1e-2, cycle_momentum=False),
    "MultiplicativeLR": lambda o: torch.optim.lr_scheduler.MultiplicativeLR(o, lambda _: 0.9),
    "SequentialLR": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o, [torch.optim.lr_scheduler.LinearLR(o), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)], [3]
    ),
    "ChainedScheduler": lambda o: torch.optim.lr_scheduler.ChainedScheduler(
        [torch.optim.lr_scheduler.LinearLR(o), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)]
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_scheduler_of_torch_is_usable_as_what_it_is(name: str) -> None:
    optimizer, _ = made("constant")
    scheduler = OTHERS[name](optimizer)
    for _ in range(5):
        optimizer.step()
        scheduler.step()
    file = BytesIO()
    torch.save(scheduler.state_dict(), file)
    found = read_scheduler(BytesReader(file.getvalue()))
    assert isinstance(found, SchedulerState)
    assert lacks(found, found.kind, 2) is None


@pytest.mark.parametrize("change", [{"last_epoch": None}, {"last_epoch": "a"}, {"_step_count": None}, {"step": 3}])
def test_no_scheduler_of_torch_goes_on_from_these(change: dict[str, Any]) -> None:
    state = {"step_size": 3, "gamma": 0.1, "base_lrs": [1e-3], "last_epoch": 5, "_step_count": 6, **change}
    found = read_scheduler(BytesReader(torch_archive_bytes(state, "scheduler")))
    assert isinstance(found, SchedulerState)
    assert lacks(found, found.kind, 1)
