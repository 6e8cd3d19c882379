from pathlib import Path

from audit.facts.run import Run, open_run
from audit.manager import load
from audit.testing.runs import edit_state, make_run


def opened(path: str) -> Run:
    return open_run(path, load().backends)


def names(run: Run) -> list[list[int]]:
    return [[checkpoint.step for checkpoint in lineage] for lineage in run.lineages]


def test_a_sound_run_is_one_lineage(tmp_path: Path) -> None:
    assert names(opened(make_run(tmp_path))) == [[100, 200, 300]]


def test_a_checkpoint_edited_in_the_middle_is_left_behind(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100, 200, 300, 400, 500))
    edit_state(tmp_path / "checkpoint-300", log_history=lambda log: [*log[:25], {**log[25], "loss": 0.5}, *log[26:]])

    found = opened(run)

    assert names(found) == [[300], [100, 200, 400, 500]]
    assert [len(checkpoint.history.fresh) for checkpoint in found.lineages[1]] == [10, 10, 20, 10]


def test_a_run_that_went_back_keeps_what_both_have_in_the_branch_that_went_on(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100, 200, 300, 400, 500, 600))
    for step in (500, 600):
        edit_state(
            tmp_path / f"checkpoint-{step}",
            log_history=lambda log: [{**entry, "loss": entry["loss"] + (entry["step"] > 200)} for entry in log],
        )

    assert names(opened(run)) == [[300, 400], [100, 200, 500, 600]]


def test_an_older_history_in_a_later_checkpoint_continues_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    edit_state(tmp_path / "checkpoint-300", log_history=lambda log: log[:15])

    assert names(opened(run)) == [[100, 200], [300]]


def test_runs_that_have_nothing_in_common_are_apart(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100, 200))
    make_run(tmp_path, steps=(300, 400), seed=1)

    assert names(opened(run)) == [[100, 200], [300, 400]]
