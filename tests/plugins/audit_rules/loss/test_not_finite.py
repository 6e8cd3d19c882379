from pathlib import Path

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome
from tests.plugins.audit_rules.loss.resumed import level, resumed


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_reported_once(tmp_path: Path, value: float) -> None:
    run = resumed(tmp_path, level(1.0, 15) + [value] * 15)

    (finding,) = check(run, "loss/not-finite")

    assert finding.checkpoint == "checkpoint-200"
    assert f"{value} at step 160 and 4 more" in finding.message
    assert outcome(run, "loss/not-finite", "checkpoint-300").outcome is Outcome.NOT_APPLICABLE


def test_a_gradient_norm_of_nan_is_legal(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0, 20), entry={"grad_norm": float("nan")})

    assert check(run, "loss/not-finite") == []


def test_what_the_last_entry_of_a_checkpoint_shows_is_not_said_of_the_next_again(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0, 19) + [float("nan")] * 11)

    assert [(item.checkpoint, item.step) for item in check(run, "loss/not-finite")] == [("checkpoint-200", 200)]


def test_a_loss_that_was_finite_in_between_is_reported_again(tmp_path: Path) -> None:
    run = resumed(tmp_path, [*level(1.0, 19), float("nan"), *level(1.0, 4), float("nan"), *level(1.0, 5)])

    assert [item.step for item in check(run, "loss/not-finite")] == [200, 250]
