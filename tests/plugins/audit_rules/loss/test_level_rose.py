from pathlib import Path

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from tests.plugins.audit_rules.loss.resumed import level, resumed


def test_a_level_that_rises_and_stays_is_one_warning(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0, 25) + level(1.5, 25))

    (finding,) = check(run, "loss/level-rose")

    assert finding.severity is Severity.WARNING
    assert "from 1 to 1.5 after step 250" in finding.message
    assert finding.checkpoint == "checkpoint-300"


def test_it_is_told_again_after_it_had_come_back(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0, 25) + level(1.5, 10) + level(1.0, 25) + level(1.5, 10))

    assert len(check(run, "loss/level-rose")) == 2


def test_a_spike_passes(tmp_path: Path) -> None:
    run = resumed(tmp_path, [*level(1.0, 25), 9.0, 8.0, *level(1.0, 20)])

    assert check(run, "loss/level-rose") == []


def test_a_small_rise_of_a_small_loss_passes(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(0.1, 25) + level(0.14, 20))

    assert check(run, "loss/level-rose") == []


def test_at_a_boundary_the_other_rules_decide(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0) + level(1.5), boundaries=[200])

    assert check(run, "loss/level-rose") == []


def test_a_short_log_is_not_judged(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0, 24))

    assert outcome(run, "loss/level-rose").outcome is Outcome.NOT_APPLICABLE
