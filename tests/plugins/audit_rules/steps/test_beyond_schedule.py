from pathlib import Path

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome, report
from audit.testing.runs import edit_state, make_run


def test_a_step_after_the_last_is_found(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100, 101), max_steps=100, logging_steps=1)

    (finding,) = check(run, "steps/beyond-schedule")

    assert finding.checkpoint == "checkpoint-101"
    assert (finding.expected, finding.actual) == (100, 101)


@pytest.mark.parametrize("epoch", [3.5, 99.0])
def test_an_epoch_after_the_last_is_found(tmp_path: Path, epoch: float) -> None:
    run = make_run(tmp_path)
    edit_state(tmp_path / "checkpoint-300", epoch=epoch, num_train_epochs=3)

    (finding,) = check(run, "steps/beyond-schedule")

    assert f"Epoch {epoch:g}" in finding.message
    edit_state(tmp_path / "checkpoint-300", epoch=3.0)
    assert check(run, "steps/beyond-schedule") == []


def test_the_last_step_itself_passes(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100, 200), max_steps=200)

    assert check(run, "steps/beyond-schedule") == []


def test_a_directory_of_another_step_explains_it(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    edit_state(tmp_path / "checkpoint-200", global_step=700)

    assert {item.rule for item in report(run, "steps").findings} == {"steps/directory-mismatch"}


def test_without_max_steps_nothing_is_said(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    edit_state(tmp_path / "checkpoint-300", max_steps=-1)

    assert outcome(run, "steps/beyond-schedule", "checkpoint-300").outcome is Outcome.NOT_APPLICABLE
