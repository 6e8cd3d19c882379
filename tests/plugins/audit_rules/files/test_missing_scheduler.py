"""files/missing-scheduler."""

from pathlib import Path

import pytest

from audit.testing.judging import check
from audit.testing.runs import edit_arguments, make_run
from tests.plugins.audit_rules.files.editing import judged, names, remove
from tests.zero import edit_engine, make_zero, own_scheduler

RULE = "files/missing-scheduler"


@pytest.fixture
def run(tmp_path: Path) -> str:
    return make_run(tmp_path / "run")


def test_a_missing_scheduler_state_is_found(run: str) -> None:
    remove(run, "scheduler.pt")
    (finding,) = judged(run)
    assert (finding.rule, finding.checkpoint, finding.file) == (RULE, "checkpoint-200", "scheduler.pt")
    assert "a resume would load neither schedule nor optimizer" in finding.message
    assert finding.blocks_resume


def test_a_checkpoint_with_it_passes(run: str) -> None:
    remove(run, "optimizer.pt")
    assert not check(run, RULE)


def test_it_is_explained_where_the_optimizer_is_gone_as_well(run: str) -> None:
    remove(run, "optimizer.pt", "scheduler.pt")
    assert names(judged(run)) == [("files/missing-optimizer", "checkpoint-200", "optimizer.pt")]


def test_with_save_only_model_it_is_not_owed(run: str) -> None:
    remove(run, "scheduler.pt")
    edit_arguments(f"{run}/checkpoint-200", save_only_model=True)
    assert not check(run, RULE)


def test_under_deepspeed_the_engine_holds_it(run: str) -> None:
    remove(run, "scheduler.pt")
    edit_arguments(f"{run}/checkpoint-200", deepspeed="ds_config.json")
    assert not check(run, RULE)


def test_under_deepspeed_it_is_owed_if_trainer_made_the_schedule(tmp_path: Path) -> None:
    run = make_zero(tmp_path / "run")
    newest = run / "checkpoint-200"
    (newest / "scheduler.pt").unlink()

    (finding,) = check(str(run), "files/missing-scheduler")
    assert (finding.checkpoint, finding.blocks_resume) == ("checkpoint-200", True)

    edit_engine(newest, own_scheduler)
    assert check(str(run), "files/missing-scheduler") == []
