import json
import shutil
from pathlib import Path

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_state
from audit_rules.loss.level_rose import _SHOWN
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


def test_of_many_rises_the_first_are_told_and_the_others_are_counted(tmp_path: Path) -> None:
    run = resumed(tmp_path, (level(1.0, 25) + level(1.5, 10)) * (_SHOWN + 2), every=35)

    found = check(run, "loss/level-rose")

    assert len(found) == _SHOWN
    assert [item.message.endswith("(and 2 more times)") for item in found] == [False] * (_SHOWN - 1) + [True]


def test_a_rise_in_a_log_that_goes_on_beyond_the_newest_checkpoint_is_told_of_that(tmp_path: Path) -> None:
    run = resumed(tmp_path, level(1.0, 40) + level(1.5, 10))
    log = json.loads((tmp_path / "checkpoint-500" / "trainer_state.json").read_text())["log_history"]
    for step in (400, 500):
        shutil.rmtree(tmp_path / f"checkpoint-{step}")
    edit_state(tmp_path / "checkpoint-300", log_history=log)

    assert [item.checkpoint for item in check(run, "loss/level-rose")] == ["checkpoint-300"]
