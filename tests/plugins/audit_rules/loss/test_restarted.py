from pathlib import Path

from audit.findings import Outcome
from audit.testing.judging import check, outcome, report
from tests.plugins.audit_rules.loss.resumed import level, resumed

TOOTH = [3.0 - 0.1 * index for index in range(20)]


def test_a_sawtooth_is_one_finding_for_the_run(tmp_path: Path) -> None:
    run = resumed(tmp_path, TOOTH * 3, boundaries=[200, 400])

    (finding,) = report(run, "loss").findings

    assert finding.rule == "loss/restarted"
    assert "2 of 2 boundaries (steps 200, 400)" in finding.message
    assert "the run began at 2.9" in finding.message


def test_harder_data_each_time_is_no_restart(tmp_path: Path) -> None:
    run = resumed(tmp_path, TOOTH + level(1.7) + level(2.0), boundaries=[200, 400])

    assert check(run, "loss/restarted") == []


def test_one_boundary_is_no_sawtooth(tmp_path: Path) -> None:
    run = resumed(tmp_path, (TOOTH + level(1.0)) * 2, boundaries=[400])

    assert outcome(run, "loss/restarted").outcome is Outcome.NOT_APPLICABLE
    assert {item.rule for item in report(run, "loss").findings} == {"loss/jump"}
