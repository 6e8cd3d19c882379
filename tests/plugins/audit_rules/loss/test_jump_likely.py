from pathlib import Path

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from tests.plugins.audit_rules.loss.resumed import level, resumed


def test_few_losses_give_a_warning(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0, 12) + level(1.5, 3), boundaries=[120], every=12)

    (finding,) = check(run, "loss/jump-likely")

    assert finding.severity is Severity.WARNING
    assert "from 1 to 1.5 at the boundary of step 120" in finding.message


def test_it_is_said_how_far_apart_they_are(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0, 12) + level(1.234567, 3), boundaries=[120], every=12)

    (finding,) = check(run, "loss/jump-likely", rules={"loss/jump-likely": {"share": 0.1}})

    assert (finding.expected, finding.actual) == (1.02, 1.209876)


@pytest.mark.parametrize(("before", "expected"), [(9, Outcome.NOT_APPLICABLE), (10, Outcome.FAIL)])
def test_ten_losses_before_are_enough(tmp_path: Path, before: int, expected: Outcome) -> None:
    run = resumed(tmp_path, level(1.0, before) + level(1.5, 3), boundaries=[10 * before], every=before)

    assert outcome(run, "loss/jump-likely").outcome is expected


def test_a_rise_of_a_fifth_is_not_enough(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0, 12) + level(1.2, 3), boundaries=[120], every=12)

    assert outcome(run, "loss/jump-likely").outcome is Outcome.PASS


def test_with_enough_losses_the_other_rule_decides(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0) + level(1.5), boundaries=[200])

    assert outcome(run, "loss/jump-likely").outcome is Outcome.NOT_APPLICABLE


def test_too_few_losses_are_said_to_be_too_few(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0, 12) + level(1.5, 2), boundaries=[120], every=12)

    assert "not enough data" in str(outcome(run, "loss/jump-likely").reason)
