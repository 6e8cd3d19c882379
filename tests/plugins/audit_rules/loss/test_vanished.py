from pathlib import Path

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from tests.plugins.audit_rules.loss.resumed import level, resumed


def test_a_loss_of_zero_with_a_norm_of_nan_is_reported_once(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0, 15) + [0.0] * 15, entry={"grad_norm": float("nan")})

    (finding,) = check(run, "loss/vanished")

    assert finding.severity is Severity.WARNING
    assert finding.checkpoint == "checkpoint-200"
    assert "at step 160, and at 4 more logged steps" in finding.message
    assert outcome(run, "loss/vanished", "checkpoint-300").outcome is Outcome.NOT_APPLICABLE


def test_a_loss_of_zero_with_a_finite_norm_is_legal(tmp_path: Path) -> None:
    assert check(resumed(tmp_path, [0.0] * 20), "loss/vanished") == []


def test_a_norm_of_nan_with_a_finite_loss_is_legal(tmp_path: Path) -> None:
    assert check(resumed(tmp_path, level(1.0, 20), entry={"grad_norm": float("nan")}), "loss/vanished") == []


def test_a_skipped_step_before_it_is_not_the_same(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0, 10) + [0.0] * 20, entry={"grad_norm": float("nan")})

    (finding,) = check(run, "loss/vanished")

    assert finding.checkpoint == "checkpoint-200"
    assert (finding.expected, finding.actual, finding.step) == ("a loss above 0", 0.0, 110)
