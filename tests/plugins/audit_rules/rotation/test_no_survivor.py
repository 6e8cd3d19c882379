import os
from pathlib import Path

import pytest

from audit.findings import Outcome, Severity
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_arguments, edit_state, make_run

RULE = "rotation/no-survivor"


@pytest.mark.parametrize("file", ["optimizer.pt", "trainer_state.json", "adapter_model.safetensors"])
def test_a_broken_newest_checkpoint_takes_the_place_of_the_only_sound_one(tmp_path: Path, file: str) -> None:
    run = make_run(tmp_path / "run", (100, 200), limit=2)
    os.remove(f"{run}/checkpoint-200/{file}")

    (finding,) = check(run, RULE, settle_seconds=0)

    assert finding.severity is Severity.WARNING
    assert "the next save deletes checkpoint-100, the only one that can be resumed from" in finding.message
    assert "the broken checkpoint-200 counts" in finding.message


def test_a_file_that_is_cut_off_is_broken_too(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200), limit=2)
    os.truncate(f"{run}/checkpoint-200/optimizer.pt", 1000)

    assert len(check(run, RULE)) == 1


@pytest.mark.parametrize("limit", [3, 4, 5])
def test_a_larger_limit_keeps_a_sound_one(tmp_path: Path, limit: int) -> None:
    run = make_run(tmp_path / "run", limit=limit)
    os.remove(f"{run}/checkpoint-300/optimizer.pt")

    assert check(run, RULE) == []


def test_with_a_sound_newest_one_nothing_is_lost(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200), limit=2)
    os.remove(f"{run}/checkpoint-100/optimizer.pt")

    assert check(run, RULE) == []


def test_the_best_one_is_protected_and_survives(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200), limit=2, best=True)
    edit_state(f"{run}/checkpoint-200", best_model_checkpoint=f"{run}/checkpoint-100", best_global_step=100)
    os.remove(f"{run}/checkpoint-200/optimizer.pt")

    assert check(run, RULE) == []


@pytest.mark.parametrize("file", ["training_args.bin", "adapter_config.json"])
def test_a_damaged_file_that_no_resume_reads_breaks_nothing(tmp_path: Path, file: str) -> None:
    run = make_run(tmp_path / "run", limit=2)
    os.remove(f"{run}/checkpoint-300/optimizer.pt")
    os.truncate(f"{run}/checkpoint-200/{file}", 10)

    (finding,) = check(run, RULE)

    assert "deletes checkpoint-100, checkpoint-200, all that can be resumed from" in finding.message


def test_a_save_that_goes_on_right_now_is_not_judged(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200), limit=2)
    os.remove(f"{run}/checkpoint-200/trainer_state.json")

    assert outcome(run, RULE).outcome is Outcome.NOT_APPLICABLE


def test_where_nothing_is_sound_other_rules_say_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200), limit=2)
    for step in (100, 200):
        os.remove(f"{run}/checkpoint-{step}/scheduler.pt")

    assert outcome(run, RULE).outcome is Outcome.NOT_APPLICABLE


def test_weights_alone_are_nothing_to_resume_from(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200), limit=2)
    edit_arguments(f"{run}/checkpoint-200", save_only_model=True)
    for file in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        os.remove(f"{run}/checkpoint-200/{file}")

    (finding,) = check(run, RULE, settle_seconds=0)

    assert "the next save deletes checkpoint-100" in finding.message


def test_a_limit_of_one_deletes_all_but_the_best(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", limit=1)
    os.remove(f"{run}/checkpoint-300/optimizer.pt")
    (finding,) = check(run, RULE)
    assert "deletes checkpoint-100, checkpoint-200, all that can be resumed from" in finding.message

    edit_state(f"{run}/checkpoint-300", best_model_checkpoint=f"{run}/checkpoint-100", best_global_step=100)
    assert check(run, RULE) == []
