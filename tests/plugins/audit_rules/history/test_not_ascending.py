from pathlib import Path
from typing import Any

from audit.testing.judging import check, report
from audit.testing.runs import edit_state, make_run


def exchange(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*log[:-2], log[-1], log[-2]]


def test_two_exchanged_entries_are_found(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    edit_state(tmp_path / "checkpoint-300", log_history=exchange)

    (finding,) = check(run, "history/not-ascending")

    assert finding.checkpoint == "checkpoint-300"
    assert "from step 300 to step 290" in finding.message


def test_it_is_reported_for_the_first_checkpoint_that_has_it(tmp_path: Path) -> None:
    run = make_run(tmp_path, best=True)
    for step in (200, 300):
        edit_state(tmp_path / f"checkpoint-{step}", log_history=lambda log: [log[0], log[2], log[1], *log[3:]])

    found = check(run, "history/not-ascending")

    assert [item.checkpoint for item in found] == ["checkpoint-200"]


def test_it_explains_the_fork_that_it_makes(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    edit_state(tmp_path / "checkpoint-300", log_history=lambda log: [log[0], log[2], log[1], *log[3:]])

    assert {item.rule for item in report(run, "history").findings} == {"history/not-ascending"}


def test_an_evaluation_may_share_the_step_of_a_training_entry(tmp_path: Path) -> None:
    assert check(make_run(tmp_path, best=True), "history/not-ascending") == []


def test_an_entry_without_a_step_hides_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=(100,))
    edit_state(tmp_path / "checkpoint-100", log_history=lambda log: [*log[:-2], {"loss": 1.0}, *log[-2:]])
    assert check(run, "history/not-ascending") == []

    edit_state(tmp_path / "checkpoint-100", log_history=exchange)
    (finding,) = check(run, "history/not-ascending")
    assert finding.message.startswith("The log goes back from step 100 to step 90")
