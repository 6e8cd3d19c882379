"""files/missing-part."""

from pathlib import Path

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome
from audit.testing.runs import make_run
from tests.accelerate import make_accelerate, settle

RULE = "files/missing-part"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(make_accelerate(tmp_path / "run"))


def test_a_scheduler_that_all_others_have_is_missed(run: Path) -> None:
    (run / "step_200" / "scheduler.bin").unlink()
    assert not check(str(run), RULE)  # just now: what a script registered is written last
    settle(run)
    (finding,) = check(str(run), RULE)

    assert (finding.checkpoint, finding.file, finding.blocks_resume) == ("step_200", "scheduler.bin", True)
    assert finding.message == "scheduler.bin is not there, and all 2 other checkpoints have it"


def test_a_script_without_a_scheduler_owes_none(run: Path) -> None:
    for step in (100, 200, 300):
        (run / f"step_{step}" / "scheduler.bin").unlink()
    assert not check(str(run), RULE)


def test_a_part_that_began_later_is_not_missed(run: Path) -> None:
    (run / "step_300" / "custom_checkpoint_0.pkl").write_bytes((run / "step_300" / "scheduler.bin").read_bytes())
    assert not check(str(run), RULE)


def test_one_other_checkpoint_proves_nothing(tmp_path: Path) -> None:
    run = make_accelerate(tmp_path / "run", (100, 200))
    Path(run, "step_200", "scheduler.bin").unlink()
    assert outcome(run, RULE, "step_200").outcome is Outcome.NOT_APPLICABLE


def test_trainers_arguments_say_what_is_owed(tmp_path: Path) -> None:
    assert outcome(make_run(tmp_path / "run"), RULE, "checkpoint-200").outcome is Outcome.NOT_APPLICABLE
