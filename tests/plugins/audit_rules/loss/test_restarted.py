import shutil
from pathlib import Path

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome, report
from audit.testing.runs import edit_arguments, edit_optimizer
from audit_rules._passage import OTHER_DATA
from tests.audit.batch_rows import finished, leg, tell
from tests.plugins.audit_rules.loss.resumed import going_on, level, resumed

TOOTH = [3.0 - 0.1 * index for index in range(20)]


def test_a_sawtooth_is_one_finding_for_the_run(tmp_path: Path) -> None:
    run = resumed(tmp_path, TOOTH * 3, boundaries=[200, 400])

    (finding,) = report(run, "loss").findings

    assert finding.rule == "loss/restarted"
    assert "2 of 2 boundaries (steps 200, 400)" in finding.message
    assert "the run started at 2.9" in finding.message
    assert finding.remedy != OTHER_DATA


def test_harder_data_each_time_is_no_restart(tmp_path: Path) -> None:
    run = resumed(tmp_path, TOOTH + level(1.7) + level(2.0), boundaries=[200, 400])

    assert check(run, "loss/restarted") == []


def test_one_boundary_is_no_sawtooth(tmp_path: Path) -> None:
    run = resumed(tmp_path, (TOOTH + level(1.0)) * 2, boundaries=[400])

    assert outcome(run, "loss/restarted").outcome is Outcome.NOT_APPLICABLE
    assert {item.rule for item in report(run, "loss").findings} == {"loss/jump"}


def test_unlike_data_on_which_the_weights_went_on_are_a_warning(tmp_path: Path) -> None:
    run = going_on(resumed(tmp_path, TOOTH * 3, boundaries=[200, 400]))

    (finding,) = report(run, "loss").findings

    assert (finding.rule, finding.severity, finding.remedy) == ("loss/restarted", Severity.WARNING, OTHER_DATA)
    assert (
        "the weights and the optimizer continued from checkpoint-200 to checkpoint-300: other data" in finding.message
    )


def test_weights_that_went_on_without_their_moments_are_no_training_that_went_on(tmp_path: Path) -> None:
    run = going_on(resumed(tmp_path, TOOTH * 3, boundaries=[200, 400]))
    for step in (300, 500):
        edit_optimizer(Path(run, f"checkpoint-{step}"), lambda value: value["state"].clear())

    (finding,) = check(run, "loss/restarted")

    assert finding.severity is Severity.ERROR


@pytest.mark.parametrize(("ignored", "severity"), [(True, Severity.WARNING), (False, Severity.ERROR)])
def test_without_a_checkpoint_from_before_it_ignore_data_skip_tells_of_other_data(
    tmp_path: Path, ignored: bool, severity: Severity
) -> None:
    run = resumed(tmp_path, TOOTH * 3, boundaries=[200, 400])
    for number, last in enumerate((200, 400, 600)):
        tell(run, leg(f"b{number}", last - 200, last), finished(f"b{number}", last - 200, last))
    for step in (500, 600):
        edit_arguments(Path(run, f"checkpoint-{step}"), ignore_data_skip=ignored)
    for step in (100, 200, 300, 400):
        shutil.rmtree(Path(run, f"checkpoint-{step}"))

    (finding,) = check(run, "loss/restarted")

    assert finding.severity is severity
