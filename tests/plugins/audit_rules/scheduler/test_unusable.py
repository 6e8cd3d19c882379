from pathlib import Path
from typing import Any

import pytest

from audit.api import verify
from audit.findings import Severity
from audit.testing.judging import check, report
from audit.testing.runs import edit_arguments, edit_scheduler, edit_state, edit_torch, make_run
from audit.testing.torch_files import FakeTensor, Made

RULE = "scheduler/unusable"
NAN = float("nan")


def place(run: str, step: int = 300) -> Path:
    return Path(run, f"checkpoint-{step}")


def replace(run: str, value: dict[Any, Any], *steps: int) -> None:
    for step in steps or (300,):
        edit_torch(place(run, step) / "scheduler.pt", lambda _: value)


def without(run: str, name: str, step: int = 300) -> None:
    edit_torch(place(run, step) / "scheduler.pt", lambda values: {k: v for k, v in values.items() if k != name})


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"last_epoch": None}, "has a last_epoch that is not an integer"),
        ({"last_epoch": NAN}, "has a last_epoch that is not an integer"),
        ({"last_epoch": [300]}, "has a last_epoch that is not an integer"),
        ({"_step_count": None}, "has a _step_count that is not an integer"),
        ({"base_lrs": [1e-4]}, "has 1 base_lrs for 2 parameter groups"),
        ({"base_lrs": [1e-4, NAN]}, "has base_lrs that are not a list of finite numbers"),
        ({"base_lrs": None}, "has base_lrs that are not a list of finite numbers"),
        ({"lr_lambdas": None}, "has lr_lambdas that are not a list of dictionaries"),
        ({"lr_lambdas": [{}, {}, {}]}, "has 3 lr_lambdas for 2 parameter groups"),
        ({"step": 5}, "has a value for step, which is a part of every scheduler itself"),
    ],
)
def test_what_keeps_a_schedule_from_going_on_blocks(run: str, changes: dict[str, Any], words: str) -> None:
    edit_scheduler(place(run), **changes)

    (finding,) = check(run, RULE)

    assert finding.message == f"scheduler.pt {words}: a resume cannot continue with it"
    assert (finding.severity, finding.blocks_resume, finding.checkpoint) == (Severity.ERROR, True, "checkpoint-300")
    assert verify(run).resume_from == "checkpoint-200"


@pytest.mark.parametrize("name", ["lr_lambdas", "last_epoch", "_step_count", "base_lrs"])
@pytest.mark.parametrize("steps", [(300,), (100, 200, 300)])
def test_a_key_that_is_missing_blocks(tmp_path: Path, name: str, steps: tuple[int, ...]) -> None:
    run = make_run(tmp_path / "run", steps, max_steps=300)
    without(run, name)

    (finding,) = check(run, RULE)

    assert f"has no {name}" in finding.message


@pytest.mark.parametrize("value", [{}, {1: 2}])
@pytest.mark.parametrize("steps", [(300,), (100, 200, 300)])
def test_a_state_without_anything_blocks(tmp_path: Path, value: dict[Any, Any], steps: tuple[int, ...]) -> None:
    run = make_run(tmp_path / "run", steps, max_steps=300)
    replace(run, value)

    (finding,) = check(run, RULE)

    assert "has no lr_lambdas" in finding.message


def test_rates_that_are_tensors_are_sound(run: str) -> None:
    rate = FakeTensor("F32", (), b"\x17\xb7\xd18")
    edit_scheduler(place(run), base_lrs=[rate, rate])
    assert check(run, RULE) == []


def test_a_plateau_that_lost_what_it_counts_blocks(run: str) -> None:
    counts = {"num_bad_epochs": 0, "cooldown": 0, "cooldown_counter": 0, "patience": 10}
    limits = {"factor": 0.1, "threshold": 1e-4, "threshold_mode": "rel", "eps": 1e-8, "min_lrs": [0, 0]}
    sound = {"mode": "min", "best": 1.0, "last_epoch": 3, "_last_lr": [1e-4, 1e-4], **counts, **limits}
    replace(run, sound, 100, 200, 300)
    assert check(run, RULE) == []

    replace(run, {**sound, "best": NAN})
    assert "has a best that is not a number" in check(run, RULE)[0].message

    one, two = FakeTensor("F32", (), b"\0\0\0?"), FakeTensor("F32", (2,), b"\0\0\0?" * 2)
    for name, value in {"factor": two, "min_lrs": [two, two]}.items():
        replace(run, {**sound, name: value})
        assert f"has a {name} that is not a" in check(run, RULE)[0].message
    replace(run, {**sound, "min_lrs": ["0", "0"]})
    assert "has a min_lrs that is not a list of finite numbers" in check(run, RULE)[0].message
    replace(run, {**sound, "factor": one, "min_lrs": [one, one]})
    assert check(run, RULE) == []

    replace(run, {name: value for name, value in sound.items() if name != "last_epoch"})
    assert "has no last_epoch" in check(run, RULE)[0].message


BASE = {"base_lrs": [1e-4] * 2, "last_epoch": 300, "_step_count": 301, "_last_lr": [5e-5] * 2}


@pytest.mark.parametrize(
    "value",
    [{}, BASE, {"mine": 1}, {**BASE, "step_size": 30, "gamma": 0.1}, {"_schedulers": [BASE, BASE], "last_epoch": 300}],
)
def test_a_scheduler_of_one_s_own_is_not_judged_where_all_checkpoints_have_it(run: str, value: dict[str, Any]) -> None:
    replace(run, value, 100, 200, 300)
    assert check(run, RULE) == []


def test_a_scheduler_of_one_s_own_shows_in_the_logged_rates(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (300,))
    replace(run, BASE)
    assert check(run, RULE)

    def other(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**entry, "learning_rate": 1e-4 * 0.99 ** entry["step"]} for entry in entries]

    edit_state(place(run), log_history=other)
    assert check(run, RULE) == []


@pytest.mark.parametrize("state", ["rounded", "invalid"])
def test_rates_that_were_rounded_and_a_state_that_is_invalid_show_no_other_scheduler(
    tmp_path: Path, state: str
) -> None:
    run = make_run(tmp_path / "run", (300,))
    replace(run, BASE)

    def rounded(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**entry, "learning_rate": round(entry["learning_rate"], 11)} for entry in entries]

    edit_state(place(run), log_history=rounded if state == "rounded" else lambda entries: [*entries, {"loss": 1.0}])
    assert "has no lr_lambdas" in check(run, RULE)[0].message


def test_an_odd_type_in_the_arguments_does_not_matter(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (300,))
    odd: Any
    for odd in (["linear"], None, Made("builtins.range", (3,)), {}):
        edit_arguments(place(run), lr_scheduler_type=odd)
        assert not report(run, "scheduler").crashed
