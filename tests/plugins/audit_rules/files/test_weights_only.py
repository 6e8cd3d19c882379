"""files/weights-only."""

import shutil
from pathlib import Path

import pytest

from audit.findings import Severity
from audit.testing.judging import check, report
from audit.testing.runs import edit_arguments, make_run
from tests.dcp import make_apart
from tests.plugins.audit_rules.files.editing import judged, remove

RULE = "files/weights-only"
RESUME_STATE = ("optimizer.pt", "scheduler.pt", "rng_state.pth")


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def test_a_stripped_checkpoint_is_one_error(run: str) -> None:
    remove(run, *RESUME_STATE)
    (finding,) = judged(run)
    assert (finding.rule, finding.checkpoint, finding.severity) == (RULE, "checkpoint-200", Severity.ERROR)
    assert "holds neither optimizer nor scheduler nor random states" in finding.message
    assert finding.blocks_resume
    assert "train with save_only_model=False" in finding.remedy  # the option of Trainer


def test_as_the_arguments_ask_for_it_it_is_an_info_and_still_no_resume(run: str) -> None:
    for step in (100, 200, 300):
        remove(run, *RESUME_STATE, checkpoint=f"checkpoint-{step}")
        edit_arguments(f"{run}/checkpoint-{step}", save_only_model=True)
    found = judged(run)
    assert [(finding.rule, finding.severity) for finding in found] == [(RULE, Severity.INFO)] * 3
    assert "save_only_model" in found[0].message
    assert report(run, "files").resume_from is None


@pytest.mark.parametrize("kept", RESUME_STATE)
def test_where_one_part_is_left_the_others_were_deleted(run: str, kept: str) -> None:
    remove(run, *(name for name in RESUME_STATE if name != kept))
    assert not check(run, RULE)
    assert judged(run)


def test_a_placeholder_is_no_weights_only_checkpoint(run: str) -> None:
    remove(run, "scheduler.pt", "rng_state.pth")
    optimizer = Path(run, "checkpoint-200", "optimizer.pt")
    optimizer.rename(f"{optimizer}.REMOVED.git-id")
    assert not check(run, RULE)


def test_sharded_weights_without_an_optimizer_are_an_info(tmp_path: Path) -> None:
    run = make_apart(tmp_path / "apart")
    assert not check(str(run), RULE)

    shutil.rmtree(run / "step-300" / "optimizer")
    (finding,) = check(str(run), RULE)
    assert (finding.checkpoint, finding.severity) == ("step-300", Severity.INFO)
    assert finding.message == "holds no optimizer state: it cannot be resumed from"
    assert finding.blocks_resume
