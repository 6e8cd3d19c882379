import os
import shutil
from pathlib import Path

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_state, make_run

RULE = "rotation/foreign-best"


def test_a_copy_beside_its_original_takes_its_best_from_there(tmp_path: Path) -> None:
    make_run(tmp_path / "run", best=True)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")

    (finding,) = check(str(tmp_path / "copy"), RULE)

    assert finding.severity is Severity.WARNING
    assert finding.actual == str(tmp_path / "run/checkpoint-300")


def test_the_original_is_right(tmp_path: Path) -> None:
    assert check(make_run(tmp_path / "run", best=True), RULE) == []


def test_a_moved_run_is_right(tmp_path: Path) -> None:
    make_run(tmp_path / "run", best=True)
    shutil.move(tmp_path / "run", tmp_path / "moved")

    assert outcome(str(tmp_path / "moved"), RULE).outcome is Outcome.PASS


def test_the_same_run_reached_by_another_name_is_right(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", best=True)
    os.symlink(run, tmp_path / "name")

    assert outcome(str(tmp_path / "name"), RULE).outcome is Outcome.PASS


def test_a_relative_path_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", best=True)
    make_run(tmp_path / "other")
    edit_state(f"{run}/checkpoint-300", best_model_checkpoint="other/checkpoint-300")
    monkeypatch.chdir(tmp_path)

    assert check(run, RULE) == []


def test_a_best_that_is_never_loaded_is_not_judged(tmp_path: Path) -> None:
    make_run(tmp_path / "run", best=True, load_best_model_at_end=False)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")

    assert outcome(str(tmp_path / "copy"), RULE).outcome is Outcome.NOT_APPLICABLE


def test_two_histories_side_by_side_are_not_judged(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (200, 300), best=True)
    shutil.copytree(f"{make_run(tmp_path / 'other', (100,), seed=1)}/checkpoint-100", f"{run}/checkpoint-100")
    shutil.copytree(run, tmp_path / "copy")

    assert outcome(str(tmp_path / "copy"), RULE).outcome is Outcome.NOT_APPLICABLE
