from pathlib import Path

import pytest

from audit.findings import Severity
from audit.testing.judging import check
from audit.testing.runs import edit_state
from tests.plugins.audit_rules.loss.resumed import level, resumed


def test_a_loss_that_falls_at_once_after_a_resume_is_a_warning(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.5) + level(1.0), boundaries=[200])

    (finding,) = check(run, "loss/fell-suspiciously")

    assert finding.severity is Severity.WARNING
    assert "from 1.5 to 1 at the boundary of step 200" in finding.message


def test_a_loss_that_falls_slowly_passes(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.5) + level(1.4), boundaries=[200])

    assert check(run, "loss/fell-suspiciously") == []


def test_a_new_epoch_over_the_same_data_lets_it_fall(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.5) + level(1.0), boundaries=[200])
    for step in (100, 200, 300, 400):
        edit_state(
            tmp_path / f"checkpoint-{step}",
            log_history=lambda log: [{**entry, "epoch": entry["step"] / 200} for entry in log],
        )

    assert check(run, "loss/fell-suspiciously") == []


def test_a_fall_no_faster_than_the_one_before_the_boundary_passes(tmp_path: Path) -> None:
    steady = [4.0 - 0.05 * index + 0.01 * (index % 2) for index in range(40)]
    assert check(resumed(tmp_path / "steady", steady, boundaries=[200]), "loss/fell-suspiciously") == []

    faster = [4.0 - 0.002 * index**2 for index in range(40)]  # the fall of a warm-up: it becomes steeper
    assert check(resumed(tmp_path / "faster", faster, boundaries=[200]), "loss/fell-suspiciously") == []


def test_a_step_below_a_falling_loss_is_a_warning(tmp_path: Path) -> None:
    losses = [4.0 - 0.05 * index - (0.8 if index >= 20 else 0.0) for index in range(40)]

    assert len(check(resumed(tmp_path, losses, boundaries=[200]), "loss/fell-suspiciously")) == 1


@pytest.mark.parametrize(("step", "found"), [(0.26, 0), (0.27, 1)])
def test_the_trend_is_drawn_up_to_the_losses_after_the_boundary(tmp_path: Path, step: float, found: int) -> None:
    losses = [4.0 - 0.05 * index - (step if index >= 20 else 0.0) for index in range(40)]  # a tenth of it is 0.264

    assert len(check(resumed(tmp_path, losses, boundaries=[200]), "loss/fell-suspiciously")) == found
