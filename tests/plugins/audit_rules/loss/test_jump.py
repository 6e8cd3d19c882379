from pathlib import Path

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome, report
from audit_rules._passage import OTHER_DATA
from tests.plugins.audit_rules.loss.resumed import going_on, level, resumed


def test_a_loss_that_stays_higher_after_a_resume_is_found(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0) + level(1.5), boundaries=[200])

    (finding,) = check(run, "loss/jump")

    assert "from 1 to 1.5 at the boundary of step 200" in finding.message
    assert (finding.checkpoint, finding.step) == ("checkpoint-300", 200)
    assert finding.remedy != OTHER_DATA
    assert {item.rule for item in report(run, "loss").findings} == {"loss/jump"}


@pytest.mark.parametrize(
    "after",
    [
        level(1.08),  # higher, but not by 10 %
        [1.5, 1.6, 1.5, 1.5, 1.0, *level(1.0)],  # back again
        level(0.9),
    ],
)
def test_a_loss_that_goes_on_passes(tmp_path: Path, after: list[float]) -> None:
    run = resumed(tmp_path, level(1.0) + after, boundaries=[200])

    assert outcome(run, "loss/jump").outcome is Outcome.PASS


def test_without_a_boundary_nothing_is_said(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0) + level(1.5))

    assert outcome(run, "loss/jump").outcome is Outcome.NOT_APPLICABLE


@pytest.mark.parametrize("entry", [{"reward": 0.5}, {"objective/kl": 0.1}])
def test_reinforcement_learning_is_left_out_unless_asked_for(tmp_path: Path, entry: dict[str, float]) -> None:
    run = resumed(tmp_path, level(1.0) + level(1.5), boundaries=[200], entry=entry)

    assert "reinforcement" in str(outcome(run, "loss/jump").reason)
    assert len(check(run, "loss/jump", rules={"loss/jump": {"include_rl": True}})) == 1


def test_preference_training_is_no_reinforcement_learning(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0) + level(1.5), boundaries=[200], entry={"rewards/chosen": 0.5})

    assert len(check(run, "loss/jump")) == 1


def test_the_thresholds_can_be_changed(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0) + level(1.5), boundaries=[200])

    assert check(run, "loss/jump", rules={"loss/jump": {"share": 0.6}}) == []


def test_a_jump_over_which_the_weights_went_on_is_a_warning(tmp_path: Path) -> None:
    run = going_on(resumed(tmp_path, level(1.0) + level(1.5), boundaries=[200]))

    (finding,) = check(run, "loss/jump")

    assert finding.severity is Severity.WARNING
    assert "other data, not another model" in finding.message
    assert finding.remedy == OTHER_DATA
