"""What a page gets of a run: curves, legs, checkpoints, findings, each at its step; damage leaves gaps, no errors."""

import os
from pathlib import Path
from typing import Any

import pytest

from audit.facts.series import Point
from audit.judging.verification import verify_run
from audit.ledger.batches import Leg
from audit.ledger.timeline import Timeline
from audit.options import Options
from audit.page import Curve, RunCurves
from audit.testing.runs import edit_state, make_run
from audit.views.curves import LAST_STEP, MOST_KEYS, curves_of, split
from tests.accelerate import make_accelerate
from tests.plugins.audit_rules.loss.resumed import level, resumed


def shown(path: str, timeline: Timeline | None = None, **options: Any) -> RunCurves:
    found = verify_run(path, Options(ledger=False, **options))
    if timeline is not None:
        found.run.records = found.run.records._replace(batches=timeline)
    return curves_of(found.run, found.report)


def points(*steps: int) -> tuple[Point, ...]:
    return tuple(Point(step, float(step)) for step in steps)


def test_the_curves_that_matter_come_first_and_those_of_one_step_only_do_not_come(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", best=True)
    ending = {"train_runtime": 1.0, "train_loss": 1.0, "total_flos": 1.0, "step": 300}
    edit_state(f"{path}/checkpoint-300", log_history=lambda log: [*log, {"reward": 1.0, "step": 299}, ending])

    found = shown(path)

    assert [curve.key for curve in found.curves] == ["loss", "eval_loss", "learning_rate", "grad_norm", "reward"]
    assert found.curves[0].points[-1].step == found.last_step == found.max_steps == 300


def test_legs_lie_between_resumes_and_have_the_losses_of_their_ends(tmp_path: Path) -> None:
    found = shown(resumed(tmp_path, [*level(2.0), *level(1.5)], boundaries=[200]))

    assert [(leg.first, leg.last, leg.loss_first, leg.loss_last) for leg in found.legs] == [
        (1, 200, 2.0 * 0.98, 2.0),
        (201, 400, 1.5 * 0.98, 1.5),
    ]
    assert found.legs[0].reason is None
    assert "dataloader_num_workers" in str(found.legs[1].reason)


def test_what_the_ledger_tells_of_batches_counts_more_than_what_the_files_show(tmp_path: Path) -> None:
    def begun(file: str, first: int) -> Leg:
        return Leg(file, file, first, None, 0, None, None)

    path = resumed(tmp_path, [*level(2.0), *level(1.5), *level(1.2)], boundaries=[100, 400])
    found = shown(path, Timeline((begun("b.jsonl", 200), begun("c.jsonl", 500))))

    assert [(leg.first, leg.file) for leg in found.legs] == [
        (1, None), (101, None), (201, "b.jsonl"), (501, "c.jsonl"),
    ]  # fmt: skip


def test_a_finding_in_the_curve_lies_at_its_step_and_others_at_their_checkpoint(tmp_path: Path) -> None:
    path = resumed(tmp_path, [*level(1.0), *level(1.5)], boundaries=[200])
    os.remove(f"{path}/checkpoint-300/scheduler.pt")

    found = {item.finding.rule: (item.step, item.key) for item in shown(path).placed}

    assert found == {"loss/jump": (200, "loss"), "files/missing-scheduler": (300, None)}


def test_a_finding_of_the_whole_run_has_no_place(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", steps=(100, 200, 300, 400), limit=2)

    assert [(item.finding.rule, item.step) for item in shown(path, select=("rotation",)).placed] == [
        ("rotation/limit-exceeded", None)
    ]


def test_each_checkpoint_says_how_it_stands(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", steps=(100, 200, 300, 400))
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        os.remove(f"{path}/checkpoint-100/{name}")
    os.remove(f"{path}/checkpoint-200/scheduler.pt")
    os.remove(f"{path}/checkpoint-400/trainer_state.json")

    found = {mark.name: (mark.state, mark.resume_here) for mark in shown(path).marks}

    assert found == {
        "checkpoint-100": ("weights only", False),
        "checkpoint-200": ("broken", False),
        "checkpoint-300": ("resumable", True),
        "checkpoint-400": ("in progress", False),
    }


def test_a_sealed_checkpoint_is_told_apart(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    found = verify_run(path)

    assert all(mark.sealed for mark in curves_of(found.run, found.report).marks)
    assert not any(mark.sealed for mark in shown(make_run(tmp_path / "other")).marks)

    Path(path, "checkpoint-300", "optimizer.pt").write_bytes(Path(path, "checkpoint-200", "optimizer.pt").read_bytes())
    found = verify_run(path)
    assert [(mark.state, mark.sealed) for mark in curves_of(found.run, found.report).marks] == [
        ("resumable", True),
        ("resumable", True),
        ("broken", False),
    ]


def test_without_any_readable_state_the_checkpoints_are_still_there(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    for step in (100, 200, 300):
        Path(path, f"checkpoint-{step}", "trainer_state.json").write_text("{")

    found = shown(path)

    assert (found.curves, found.entries, found.last_step) == ((), 0, 300)
    assert [mark.state for mark in found.marks] == ["broken"] * 3
    assert [(leg.first, leg.last) for leg in found.legs] == [(1, 300)]


def test_another_history_in_the_directory_is_not_what_the_run_stands_on(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", steps=(100, 200, 300, 400))
    for step in (100, 200):
        edit_state(f"{path}/checkpoint-{step}", log_history=lambda log: [{**entry, "loss": 9.0} for entry in log])

    found = shown(path)

    assert [(curve.current, len(curve.points)) for curve in found.curves if curve.key == "loss"] == [
        (True, 40),
        (False, 20),
    ]


def test_a_log_that_goes_back_keeps_what_it_gave_up() -> None:
    assert list(split("loss", points(1, 2, 3, 4, 2, 3, 5))) == [
        Curve("loss", points(1, 2, 3, 5)),
        Curve("loss", points(2, 3, 4), current=False),
    ]


def test_a_step_that_was_logged_twice_counts_once_and_steps_that_are_none_do_not() -> None:
    log = [Point(-1, 0.0), Point(1, 1.0), Point(1, 2.0), Point(LAST_STEP + 1, 3.0)]

    assert list(split("loss", log)) == [Curve("loss", (Point(1, 2.0),))]


@pytest.mark.parametrize("more", [0, 5])
def test_a_log_with_countless_keys_is_cut_and_says_so(tmp_path: Path, more: int) -> None:
    path = make_run(tmp_path / "run", steps=(100,))
    extra = {f"k{number}": 1.0 for number in range(MOST_KEYS - 3 + more)}
    edit_state(f"{path}/checkpoint-100", log_history=lambda log: [{**entry, **extra} for entry in log])

    found = shown(path)

    assert (len(found.curves), found.left_out) == (MOST_KEYS, more)


def test_a_trainer_that_writes_no_log_leaves_checkpoints_without_curves(tmp_path: Path) -> None:
    found = shown(make_accelerate(tmp_path / "run"))

    assert [mark.name for mark in found.marks] == ["step_100", "step_200", "step_300"]
    assert (found.curves, found.last_step) == ((), 300)
