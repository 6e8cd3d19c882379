from pathlib import Path
from typing import Any

import pytest

from audit.facts.boundaries import Boundary, bends, never_rises, rises
from audit.facts.run import open_run
from audit.facts.series import Point
from audit.ledger.records import read_records
from audit.manager import load
from audit.testing.runs import edit_arguments, edit_state, make_run
from tests.audit.batch_rows import event, finished, leg, tell


def boundaries(path: str) -> tuple[Boundary, ...]:
    (found,) = open_run(path, load().backends, records=read_records(path, write=False)[0]).boundaries
    return found


def test_an_uninterrupted_run_has_none(tmp_path: Path) -> None:
    for schedule in ("linear", "cosine", "constant"):
        assert boundaries(make_run(tmp_path / schedule, schedule=schedule)) == ()


@pytest.mark.parametrize("change", [{"num_train_epochs": 7}, {"logging_dir": "runs/Nov21_10-00-00_host"}])
def test_arguments_that_change_are_another_session(tmp_path: Path, change: dict[str, Any]) -> None:
    run = make_run(tmp_path)
    edit_arguments(tmp_path / "checkpoint-300", **change)

    (boundary,) = boundaries(run)

    assert boundary.step == 200
    assert next(iter(change)) in boundary.reason


def test_the_checkpoint_that_the_arguments_name_is_one(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100, 300), resume_from_checkpoint="out/checkpoint-150")

    assert [boundary.step for boundary in boundaries(run)] == [150]


def test_another_max_steps_is_one(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    edit_state(tmp_path / "checkpoint-300", max_steps=900)

    assert [boundary.step for boundary in boundaries(run)] == [200]


def test_a_save_off_the_grid_that_was_continued_is_one(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100, 150, 200, 250), save_strategy="steps")

    assert [boundary.step for boundary in boundaries(run)] == [150]


def test_an_epoch_that_goes_back_is_one_at_the_checkpoint_beside_it(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for step in (200, 300):
        edit_state(
            tmp_path / f"checkpoint-{step}",
            log_history=lambda log: [{**item, "epoch": item["epoch"] - 0.3 * (item["step"] > 110)} for item in log],
        )

    assert [boundary.step for boundary in boundaries(run)] == [100]


def test_the_ledger_knows_where_each_leg_began(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    tell(run, leg("mon", 0, 120), finished("mon", 0, 120), leg("tue", 120, 300), leg("tue", 200, 300, done=320))

    assert [(item.step, item.reason, item.new_data) for item in boundaries(run)] == [
        (120, "batch tue.jsonl begins", True),
        (200, "batch tue.jsonl goes on", False),
    ]


def test_what_the_ledger_knows_wins_over_guesses(tmp_path: Path) -> None:
    """Saved at 100, 200, 300; the arguments of 300 are others, so a guess would be 200."""
    run = make_run(tmp_path)
    edit_arguments(tmp_path / "checkpoint-300", num_train_epochs=7)
    assert [item.step for item in boundaries(run)] == [200]

    tell(run, leg("mon", 0, 230), finished("mon", 0, 230), leg("tue", 230, 300))

    assert [item.step for item in boundaries(run)] == [230]


def test_a_resume_after_the_batches_of_the_ledger_is_guessed_as_ever(tmp_path: Path) -> None:
    run = make_run(tmp_path, (100, 200, 300, 400))
    edit_arguments(tmp_path / "checkpoint-400", num_train_epochs=7)
    tell(run, leg("mon", 0, 100), finished("mon", 0, 100), leg("tue", 100, 200), finished("tue", 100, 200))

    assert [item.step for item in boundaries(run)] == [100, 300]


def test_a_leg_whose_end_nobody_knows_covers_what_follows(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    edit_arguments(tmp_path / "checkpoint-300", num_train_epochs=7)
    tell(run, leg("mon", 0, None, per_step=None), event("failed", "mon", step=90, kind="error"))

    assert boundaries(run) == ()


def line(slope: float, start: float, first: int, count: int) -> list[Point]:
    return [Point(first + 10 * index, start + slope * 10 * index) for index in range(count)]


def test_a_bend_is_seen_where_two_straight_lines_meet() -> None:
    points = [*line(0.01, 0.0, 0, 20), *line(0.005, 2.0, 200, 20)]

    assert [found[0].step for found in bends(points, rounding=0.0)] == [200]


def test_a_straight_line_and_a_curve_have_no_bend() -> None:
    assert list(bends(line(0.01, 0.0, 0, 40), rounding=0.0)) == []
    assert list(bends([Point(step, step**3) for step in range(40)], rounding=0.0)) == []


def test_a_rounded_epoch_has_no_bend() -> None:
    points = [Point(step, round(step / 997, 2)) for step in range(10, 2000, 10)]

    assert list(bends(points, rounding=0.02)) == []


def test_a_rise_counts_after_a_fall_only() -> None:
    values = [0.0, 1.0, 2.0, 1.0, 1.5]

    found = rises([Point(step, value) for step, value in enumerate(values)])

    assert [(before.step, after.step) for before, after in found] == [(3, 4)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (None, False),
        ({"lr_scheduler_type": "linear"}, True),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, False),
        ({"lr_scheduler_type": "cosine_with_restarts"}, True),
        ({"lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 2}}, False),
    ],
)
def test_which_schedules_never_rise(arguments: dict[str, Any] | None, expected: bool) -> None:
    assert never_rises(arguments) is expected
