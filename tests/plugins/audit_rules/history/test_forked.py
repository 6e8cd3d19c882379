import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from audit.findings import Outcome
from audit.testing.judging import check, outcome
from audit.testing.runs import edit_state, make_run


def edited(position: int, **changes: Any) -> Any:
    return lambda log: [*log[:position], {**log[position], **changes}, *log[position + 1 :]]


def mix(home: Path, ours: tuple[int, ...], theirs: tuple[int, ...]) -> str:
    run = make_run(home / "run", steps=ours, save_steps=100)
    other = make_run(home / "other", steps=theirs, save_steps=100, seed=1, max_steps=5000)
    for step in theirs:
        shutil.move(os.path.join(other, f"checkpoint-{step}"), run)
    return run


def test_two_runs_in_one_directory_are_one_finding_that_names_both(tmp_path: Path) -> None:
    run = mix(tmp_path, (100, 200, 300), (400, 500))

    (finding,) = check(run, "history/forked")

    assert finding.checkpoint is None
    assert "checkpoint-100, 200, 300 (max_steps 300)" in finding.message
    assert "checkpoint-400, 500 (max_steps 5000)" in finding.message
    assert "diverge at step 10" in finding.message


def test_of_many_checkpoints_the_first_two_and_the_last_are_named(tmp_path: Path) -> None:
    run = mix(tmp_path, (100, 200, 300, 400, 500), (600, 700))

    assert "checkpoint-100, 200, ..., 500 (max_steps" in check(run, "history/forked")[0].message


def test_the_younger_run_is_named_where_the_times_are_clear(tmp_path: Path) -> None:
    run = mix(tmp_path, (100, 200), (300, 400))
    for step in (300, 400):
        os.utime(os.path.join(run, f"checkpoint-{step}", "trainer_state.json"), (1e9, 1e9))

    (finding,) = check(run, "history/forked")

    assert "checkpoint-300, 400 (max_steps 5000), the oldest" in finding.message
    assert "checkpoint-100, 200 (max_steps 200), the youngest" in finding.message


def test_a_single_checkpoint_of_another_run_is_named(tmp_path: Path) -> None:
    run = mix(tmp_path, (100, 200, 400), (300,))

    (finding,) = check(run, "history/forked")

    assert finding.checkpoint == "checkpoint-300"
    assert "belongs to another run" in finding.message


def test_an_edited_digit_names_the_checkpoint_and_the_step(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100, 200, 300, 400))
    edit_state(tmp_path / "checkpoint-300", log_history=edited(4, loss=9.9))

    (finding,) = check(run, "history/forked")

    assert finding.checkpoint == "checkpoint-300"
    assert "loss at step 50 (9.9, there 2.0" in finding.message


def test_an_edit_of_the_newest_entries_in_the_middle_of_a_run_is_seen_by_the_next(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100, 200, 300, 400))
    edit_state(tmp_path / "checkpoint-300", log_history=edited(29, loss=9.9))

    (finding,) = check(run, "history/forked")

    assert finding.checkpoint == "checkpoint-300"
    assert "loss at step 300" in finding.message


def test_an_emptied_history_is_called_that_wherever_it_is(tmp_path: Path) -> None:
    for place, step in enumerate((100, 200, 300)):
        run = make_run(tmp_path / str(place))
        edit_state(tmp_path / str(place) / f"checkpoint-{step}", log_history=[])

        (finding,) = check(run, "history/forked")

        assert finding.checkpoint == f"checkpoint-{step}"
        assert "emptied" in finding.message


def test_an_older_history_in_a_later_checkpoint_is_behind(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    edit_state(tmp_path / "checkpoint-300", log_history=lambda log: log[:15])

    (finding,) = check(run, "history/forked")

    assert finding.checkpoint == "checkpoint-300"
    assert "ends after 15 entries of that of checkpoint-200" in finding.message


def test_a_history_cut_short_in_an_earlier_checkpoint_is_seen_by_the_next(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    edit_state(tmp_path / "checkpoint-200", log_history=lambda log: log[:15])

    (finding,) = check(run, "history/forked")

    assert finding.checkpoint == "checkpoint-200"
    assert "lacks 4 entries of steps 160 to 190" in finding.message


def test_a_longer_history_a_run_without_logs_and_a_run_that_logs_late_are_one_history(tmp_path: Path) -> None:
    assert check(make_run(tmp_path / "plain"), "history/forked") == []
    assert check(make_run(tmp_path / "late", logging_steps=150), "history/forked") == []
    assert check(make_run(tmp_path / "never", logging_steps=1000), "history/forked") == []


def test_values_that_are_not_numbers_do_not_part_histories(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for step in (100, 200, 300):
        edit_state(tmp_path / f"checkpoint-{step}", log_history=edited(3, grad_norm=float("nan")))

    assert check(run, "history/forked") == []


def test_one_checkpoint_alone_is_not_judged(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100,))

    assert outcome(run, "history/forked").outcome is Outcome.NOT_APPLICABLE


def test_where_no_two_checkpoints_agree_there_is_one_finding(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100, 200, 300, 400))
    for step in (100, 200, 300, 400):
        edit_state(tmp_path / f"checkpoint-{step}", log_history=edited(0, loss=float(step)))

    (finding,) = check(run, "history/forked")

    assert finding.message.startswith("4 histories in one directory")


def test_of_many_histories_six_are_named(tmp_path: Path) -> None:
    steps = tuple(range(100, 900, 100))
    run = make_run(tmp_path, steps=steps)
    for step in steps:
        edit_state(tmp_path / f"checkpoint-{step}", log_history=edited(0, loss=float(step)))

    (finding,) = check(run, "history/forked")

    assert "checkpoint-600 (max_steps 800); and 2 more. " in finding.message


def test_a_log_that_was_doubled_does_not_make_the_one_before_it_incomplete(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    edit_state(tmp_path / "checkpoint-300", log_history=lambda log: [*log, *log])

    assert check(run, "history/forked") == []
    assert [finding.checkpoint for finding in check(run, "history/not-ascending")] == ["checkpoint-300"]


def test_a_checkpoint_whose_copy_lies_under_another_step_is_not_named(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    shutil.rmtree(tmp_path / "checkpoint-200")
    shutil.copytree(tmp_path / "checkpoint-300", tmp_path / "checkpoint-200")

    assert check(run, "history/forked") == []
    assert [finding.checkpoint for finding in check(run, "steps/directory-mismatch")] == ["checkpoint-200"]


def test_a_copy_between_two_checkpoints_does_not_part_them(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    shutil.copytree(tmp_path / "checkpoint-200", tmp_path / "checkpoint-250")

    assert check(run, "history/forked") == []


@pytest.mark.parametrize(("differ", "one_log"), [(4, True), (5, False)])
def test_a_log_in_which_four_of_five_entries_of_the_one_before_are_is_the_same_log(
    tmp_path: Path, differ: int, one_log: bool
) -> None:
    run = make_run(tmp_path / "run")
    for position in range(differ):  # of the twenty that checkpoint-200 has
        edit_state(f"{run}/checkpoint-300", log_history=edited(position, loss=9.0 + position))

    (finding,) = check(run, "history/forked")

    assert ("one of them was edited" in finding.message) is one_log
    assert ("2 histories in one directory" in finding.message) is not one_log


@pytest.mark.parametrize("step", [100, 200, 300])
def test_an_entry_that_was_removed_is_an_edit_wherever_the_checkpoint_is(tmp_path: Path, step: int) -> None:
    run = make_run(tmp_path / "run")
    edit_state(f"{run}/checkpoint-{step}", log_history=lambda log: log[:5] + log[6:])

    (finding,) = check(run, "history/forked")

    assert finding.checkpoint == f"checkpoint-{step}"
    assert finding.message.endswith("except for the entry of step 70: one of them was edited")


def test_a_way_back_that_shares_most_of_the_log_is_no_edit(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (100, 200, 300, 400))
    for step in (300, 400):  # from step 180 on another way than that of checkpoint-200
        edit_state(
            f"{run}/checkpoint-{step}",
            log_history=lambda log: log[:17] + [{**entry, "loss": entry["loss"] + 0.25} for entry in log[17:]],
        )

    (finding,) = check(run, "history/forked")

    assert "one of them was edited" not in finding.message
    assert "diverge at step 180" in finding.message
