import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from audit.findings import Outcome
from audit.testing.judging import outcome
from audit.testing.runs import edit_state, make_run
from tests.audit.batch_rows import append, finished, leg, tell
from tests.audit.seals import WEIGHTS, broken_seals, flip, save_anew, sealed, verified


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A sealed run."""
    path = make_run(tmp_path / "run")
    assert sealed(verified(path)) == [100, 200, 300]
    return path


def test_one_bit_of_the_weights_is_found(run: str) -> None:
    flip(f"{run}/checkpoint-300/{WEIGHTS}", keep_times=False)

    report = verified(run)

    assert broken_seals(report) == [("checkpoint-300", WEIGHTS)]
    assert [item.rule for item in report.findings] == ["integrity/seal-broken"]
    (finding,) = report.findings
    assert re.search(r"sealed on \d{4}-\d\d-\d\d \d\d:\d\d UTC: its digest differs$", finding.message)
    assert [len(str(digest)) for digest in (finding.expected, finding.actual)] == [16, 16]
    assert finding.expected != finding.actual
    assert report.resume_from == "checkpoint-200"


@pytest.mark.parametrize("cache", [True, False])
def test_a_byte_that_was_changed_with_the_mtime_put_back_is_found(run: str, cache: bool) -> None:
    flip(f"{run}/checkpoint-300/{WEIGHTS}")

    assert broken_seals(verified(run, cache=cache)) == [("checkpoint-300", WEIGHTS)]


def test_a_file_that_is_gone_is_found_at_quick_depth(run: str) -> None:
    Path(run, "checkpoint-200", "README.md").unlink()

    report = verified(run, depth="quick")

    assert broken_seals(report) == [("checkpoint-200", "README.md")]
    assert "README.md is gone" in report.findings[0].message


def test_another_size_is_found_at_quick_depth(run: str) -> None:
    with open(f"{run}/checkpoint-200/README.md", "a", encoding="utf-8") as file:
        file.write("more")

    (finding,) = verified(run, depth="quick").findings

    assert (finding.rule, finding.file) == ("integrity/seal-broken", "README.md")
    assert finding.actual == (finding.expected or 0) + 4  # type: ignore[operator]


def test_a_file_that_was_added_is_not_judged(run: str) -> None:
    Path(run, "checkpoint-200", "NOTES.txt").write_text("a note\n")

    assert broken_seals(verified(run)) == []


def test_an_unchanged_run_is_sound_at_any_depth(run: str) -> None:
    for options in ({}, {"cache": False}, {"depth": "quick"}):
        assert broken_seals(verified(run, **options)) == []


def test_a_checkpoint_that_was_never_sealed_is_not_applicable(tmp_path: Path) -> None:
    run = make_run(tmp_path)

    found = outcome(run, "integrity/seal-broken", "checkpoint-200")

    assert (found.outcome, found.reason) == (Outcome.NOT_APPLICABLE, "it was never sealed")


@pytest.mark.parametrize("depth", ["quick", "full"])
@pytest.mark.parametrize("later", [0.01, 10])
def test_a_checkpoint_that_the_trainer_saved_anew_is_not_judged_by_its_old_seal(
    run: str, depth: str, later: float
) -> None:
    for step in (100, 200, 300):
        save_anew(run, step, seed=1, later=later)

    report = verified(run, depth=depth)

    assert report.findings == ()
    assert sealed(report) == ([100, 200, 300] if depth == "full" else [])


def test_an_edit_of_one_file_is_no_new_save_whatever_its_time(run: str) -> None:
    edit_state(f"{run}/checkpoint-300", log_history=lambda log: [*log[:-1], {**log[-1], "loss": 1.25}])

    assert broken_seals(verified(run)) == [("checkpoint-300", "trainer_state.json")]


@pytest.mark.parametrize("copy", [shutil.copy2, shutil.copyfile])
def test_a_copy_of_a_run_is_held_to_the_seals_that_came_with_it(run: str, tmp_path: Path, copy: object) -> None:
    other = str(tmp_path / "copy")
    shutil.copytree(run, other, copy_function=copy)  # type: ignore[arg-type]
    assert verified(other).findings == ()

    flip(f"{other}/checkpoint-300/{WEIGHTS}", keep_times=False)

    assert broken_seals(verified(other)) == [("checkpoint-300", WEIGHTS)]


def test_where_another_rule_says_what_is_wrong_with_the_file_that_is_enough(run: str) -> None:
    os.truncate(f"{run}/checkpoint-300/{WEIGHTS}", 0)

    assert {item.rule for item in verified(run).findings} == {"files/empty-file"}


def test_a_hard_link_changes_nothing(run: str) -> None:
    os.link(f"{run}/checkpoint-300/{WEIGHTS}", f"{run}/link")

    report = verified(run)

    assert (broken_seals(report), report.resume_from) == ([], "checkpoint-300")


# -- a run of `audit train`: what was trained elsewhere and copied over ------------------------------------------------


@pytest.fixture
def trained(tmp_path: Path) -> str:
    """A run whose ledger has the legs that trained it, sealed after them."""
    run = make_run(tmp_path / "trained")
    tell(run, leg("a", 0, 100), finished("a", 0, 100), leg("b", 100, 300), finished("b", 100, 300))
    assert sealed(verified(run)) == [100, 200, 300]
    return run


@pytest.mark.parametrize("depth", ["quick", "full"])
def test_a_checkpoint_trained_elsewhere_and_copied_over_a_sealed_one_is_found(trained: str, depth: str) -> None:
    save_anew(trained, 300, seed=1, later=10)

    report = verified(trained, depth=depth)

    assert {(item.rule, item.checkpoint) for item in report.findings} == {("integrity/seal-broken", "checkpoint-300")}
    assert report.resume_from == "checkpoint-200"


@pytest.mark.parametrize("depth", ["quick", "full"])
def test_the_sealed_side_is_right_where_the_foreign_one_continues_an_older_checkpoint(trained: str, depth: str) -> None:
    save_anew(trained, 300, seed=1, later=10)
    # The foreign training began at the genuine checkpoint-100, so that the genuine checkpoint-200 looks left behind.
    old = json.loads(Path(trained, "checkpoint-100", "trainer_state.json").read_text())["log_history"]
    edit_state(f"{trained}/checkpoint-300", log_history=lambda log: [*old, *log[len(old) :]])

    report = verified(trained, depth=depth)

    assert {(item.rule, item.checkpoint) for item in report.findings} == {("integrity/seal-broken", "checkpoint-300")}
    assert report.resume_from == "checkpoint-200"


@pytest.mark.parametrize("begun", [("batch", leg("c", 200, 300)), ("start", {"step": 200})])
def test_a_leg_that_went_back_excuses_a_step_that_was_saved_anew(
    trained: str, begun: tuple[str, dict[str, Any]]
) -> None:
    append(trained, begun)
    save_anew(trained, 300, seed=1, later=10)

    assert broken_seals(verified(trained)) == []


def test_a_state_that_was_edited_to_the_same_size_is_found_at_quick_depth(run: str) -> None:
    state = Path(run, "checkpoint-300", "trainer_state.json")
    text = state.read_text()
    state.write_text(text.replace('"total_flos": 1', '"total_flos": 2'))
    assert state.read_text() != text
    os.utime(state, (time.time() + 5,) * 2)

    report = verified(run, depth="quick")

    assert broken_seals(report) == [("checkpoint-300", "trainer_state.json")]
    assert "this is not the checkpoint that was proven" in report.findings[0].message
