"""The schedules as formulas, against those of transformers."""

import itertools
from typing import Any

import pytest

from audit.facts.schedules import ENDLESS, EXACT, KNOWN, Schedule, factor, warmups

WSD = "warmup_stable_decay"


def test_a_plateau_lies_between_warm_up_and_decay() -> None:
    shares = [factor(WSD, step, 2, 10, {"num_decay_steps": 4, "decay_type": "linear"}, 1e-3) for step in range(12)]

    assert shares == [0, 0.5, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0]


@pytest.mark.parametrize(
    "options", [{}, {"num_decay_steps": "4"}, {"num_decay_steps": 4, "decay_type": "square"}, {"new": 1}]
)
def test_a_plateau_with_other_options_is_not_known(options: dict[str, Any]) -> None:
    assert factor(WSD, 3, 2, 10, options, 1e-3) is None


def test_those_without_an_end_do_not_depend_on_it() -> None:
    for kind in ENDLESS:
        assert factor(kind, 7, 2, 10, {}, 1e-3) == factor(kind, 7, 2, 10_000, {}, 1e-3)
    for kind in EXACT - ENDLESS:
        assert factor(kind, 7, 2, 10, {}, 1e-3) != factor(kind, 7, 2, 10_000, {}, 1e-3)


def test_a_schedule_of_another_name_is_not_known() -> None:
    assert factor("greedy", 3, 2, 10, {}, 1e-3) is None


OPTIONS: dict[str, list[dict[str, Any]]] = {
    "cosine": [{}, {"num_cycles": 1.5}],
    "cosine_with_restarts": [{"num_cycles": 3}],
    "cosine_with_min_lr": [{"min_lr": 1e-4}, {"min_lr_rate": 0.2}],
    "inverse_sqrt": [{}, {"timescale": 30}],
    "polynomial": [{}, {"lr_end": 1e-5, "power": 2.0}],
    WSD: [
        {"num_decay_steps": 7, "min_lr_ratio": least, "decay_type": fall, "warmup_type": rise}
        for least, fall, rise in itertools.product(
            (0, 0.1), ("linear", "cosine", "1-sqrt"), ("linear", "cosine", "1-sqrt")
        )
    ]
    + [{"num_decay_steps": 7, "num_cycles": 1.5}],
}


@pytest.mark.parametrize("kind", sorted(KNOWN))
@pytest.mark.parametrize("warmup", [0, 5])
def test_each_formula_is_that_of_transformers(kind: str, warmup: int) -> None:
    torch = pytest.importorskip("torch")
    optimization = pytest.importorskip("transformers.optimization")
    base, horizon = 1e-3, 40
    for options in OPTIONS.get(kind, [{}]):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
        scheduler = optimization.get_scheduler(
            kind, optimizer, warmup, horizon, scheduler_specific_kwargs=dict(options)
        )
        for step in range(horizon + 3):
            share = factor(kind, step, warmup, horizon, options, base)
            assert share is not None
            assert base * share == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9, abs=1e-15), (options, step)
            optimizer.step()
            scheduler.step()


def test_a_share_as_warm_up_is_of_all_steps() -> None:
    assert warmups({"warmup_steps": 0.1}, 55) == (6, 0.1)
    assert warmups({"warmup_steps": 20}, 55) == (20,)
    assert warmups({"warmup_ratio": 0.1}, 55) == (6,)
    assert warmups({"warmup_steps": "many"}, 55) == ()


def test_a_schedule_of_the_arguments_gives_a_factor_for_each_way_to_read_the_warm_up() -> None:
    schedule = Schedule.of({"lr_scheduler_type": "linear", "warmup_steps": 0.1}, 55, 1e-3)

    assert schedule.exact
    assert schedule.at(3) == (factor("linear", 3, 6, 55, {}, 1e-3), factor("linear", 3, 0.1, 55, {}, 1e-3))


def test_a_schedule_that_is_not_known_has_no_factor() -> None:
    assert Schedule.of({"lr_scheduler_type": 7}, 55, 1e-3).at(3) == ()
    assert Schedule.of({"lr_scheduler_type": "linear", "lr_scheduler_kwargs": [1]}, 55, 1e-3).at(3) == ()
    assert not Schedule.of({"lr_scheduler_type": "polynomial"}, 55, 1e-3).exact
